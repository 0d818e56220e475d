"""What happens around every request: its id, its metrics, its body's limit, and an answer when ours failed.

Middlewares in plain ASGI, so that streams pass through them unbuffered. The outermost is `Requests`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.problems import problem, unavailable
from daemon.postgres.database import passes
from daemon.telemetry.metrics.requests import RequestMetrics

REQUEST_ID = "X-Request-Id"
BODY_SECONDS = 30.0
_GIVEN_ID = re.compile(r"[\w.:/=+-]{1,100}")


class Requests:
    """Names a request, counts it, and answers with a problem when the application raised."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; others (the lifespan) pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, answered = time.monotonic(), False

        async def named(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                self._metrics.answered(scope["method"], _route(scope), message["status"], time.monotonic() - began)
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception as error:
            self._metrics.failed(error, scope["method"], scope["path"], request_id)
            if not answered:
                text = "this is an error of ours; the log has it under the request's id"
                answer = unavailable(request_id) if passes(error) else problem(500, text, request_id)
                await answer(scope, receive, named)


class BodyLimit:
    """Reads the body of a request before anybody else does: no larger than `limit` bytes, within BODY_SECONDS."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request with its body, or with a refusal of it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        too_large = f"the body is over {self._limit} bytes"
        length = Headers(scope=scope).get("Content-Length", "")
        request_id = scope["state"]["request_id"]
        if length.isdecimal() and int(length) > self._limit:
            await problem(413, too_large, request_id, headers={"Connection": "close"})(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                messages = await self._read(receive)
        except TimeoutError:
            text = f"the body did not arrive within {BODY_SECONDS:.0f} s"
            await problem(408, text, request_id, headers={"Connection": "close"})(scope, receive, send)
            return
        if messages is None:
            await problem(413, too_large, request_id, headers={"Connection": "close"})(scope, receive, send)
            return

        async def replay() -> Message:
            return messages.popleft() if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> deque[Message] | None:
        messages: deque[Message] = deque()
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                return None
            if not message.get("more_body", False):
                return messages


def _route(scope: Scope) -> str:
    """The template of the route that answered; the labels of a metric must not grow with the paths."""
    return str(getattr(scope.get("route"), "path", "none"))
