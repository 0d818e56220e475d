"""`GET /v1/orchestrations/{id}/events`: an orchestration's progress as Server-Sent Events.

A plain ASGI application, for a frame must cost as little as can be. A frame's id is the cursor; `Last-Event-ID` (or the
query `last_event_id`, for clients that can't set a header) goes on from there. See
https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.api.problems import problem, unavailable
from daemon.api.streams.follower import Follower, Update
from daemon.api.streams.reader import Reader
from daemon.api.streams.watch import Watch
from daemon.progress_link import ProgressLink

HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 10.0
LOOK_SECONDS = 5.0
RETRY_MILLISECONDS = (1_000, 3_000)
ENCODED_KEPT = 64
DOUBT_SECONDS = 0.05
HEARTBEAT = b":\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """Tells each client what it does not know yet, until the last instance is in.

    A stream ends by plan after `seconds` to twice that, so that clients spread over the processes behind a balancer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One client."""
        request = Request(scope)
        reader: Reader = request.state.resources.reader
        given = request.headers.get("last-event-id") or request.query_params.get("last_event_id", "")
        link = link_of(request)
        link_id = None if link is None else link.id
        with reader.following(UUID(str(request.path_params["orchestration_id"])), link_id) as (watch, waker):
            follower = Follower(watch, given, None if link is None else frozenset(link.show))
            answer = await instead_of_progress(reader, watch, follower, waker, request.state.request_id)
            if answer is not None:
                await answer(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            gone = asyncio.ensure_future(_until_disconnected(receive))
            gone.add_done_callback(lambda _: waker.set())
            try:
                await self._tell(lambda: reader.closed or reader.has_ended(link_id), watch, follower, waker, gone, send)
            except TimeoutError:
                return  # it does not read; the kernel ends its connection
            finally:
                gone.cancel()
            if not gone.done() or gone.cancelled():
                await _write(send, b"", more=False)

    async def _tell(
        self,
        is_over: Callable[[], bool],
        watch: Watch,
        follower: Follower,
        waker: asyncio.Event,
        gone: asyncio.Future[None],
        send: Send,
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + random.uniform(self._seconds, 2 * self._seconds)
        await _write(send, b"retry: %d\n\n" % random.randint(*RETRY_MILLISECONDS))
        while not gone.done():
            waker.clear()
            key = follower.key
            update = follower.next()
            if update is not None:
                await _write(send, _encoded(watch, key, update))
            if follower.finished or watch.gone or is_over() or loop.time() >= end:
                return
            if not await wait_for(waker, min(end, loop.time() + HEARTBEAT_SECONDS)):
                await _write(send, HEARTBEAT)


def link_of(request: Request) -> ProgressLink | None:
    """The progress link that opened a request, if one did."""
    link: ProgressLink | None = getattr(request.state, "link", None)
    return link


async def instead_of_progress(
    reader: Reader, watch: Watch, follower: Follower, waker: asyncio.Event, request_id: str
) -> Response | None:
    """Wait for the first look; an answer when there is no progress to tell: 204 for whoever knows it all."""
    came = reader.looks
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            while not (watch.looked or reader.closed):
                waker.clear()
                await waker.wait()
            while follower.doubts and watch.as_of <= came and not reader.closed:  # noqa: ASYNC110 - a look wakes nobody
                await asyncio.sleep(DOUBT_SECONDS)
    except TimeoutError:
        return unavailable(request_id)
    if reader.closed:
        return problem(503, "this process is stopping; try again", request_id, headers={"Retry-After": "1"})
    if watch.gone or (watch.generation == 0 and follower.knew_it):
        return problem(404, f"no orchestration has the id {watch.id} any more", request_id)
    return Response(status_code=204) if follower.has_all else None


def frames(update: Update) -> bytes:
    """An update as frames. A client that is cut off between them gets the state again, and no fact twice."""
    cursor = str(update.cursor).encode()
    told = cursor.removesuffix(b".final")
    parts = []
    if update.snapshot is not None:
        parts.append(b"event: snapshot\nid: %s\ndata: %s\n\n" % (told, update.snapshot))
    if update.facts:
        parts.append(b"event: facts\nid: %s\ndata: [%s]\n\n" % (told, b",".join(update.facts)))
    if update.final:
        parts.append(b"event: final\nid: %s\ndata: %s\n\n" % (cursor, update.state))
    elif update.snapshot is None:
        parts.append(b"event: state\nid: %s\ndata: %s\n\n" % (told, update.state))
    return b"".join(parts)


async def wait_for(waker: asyncio.Event, until: float) -> bool:
    """Wait for it, at most until that time of the event loop; whether it was set."""
    try:
        async with asyncio.timeout_at(until):
            return await waker.wait()
    except TimeoutError:
        return False


def _encoded(watch: Watch, key: tuple[object, ...], update: Update) -> bytes:
    """The frames of an update, encoded once for all who are told the same."""
    known = watch.encoded.get(key)
    if known is None:
        known = frames(update)
        if len(watch.encoded) < ENCODED_KEPT:
            watch.encoded[key] = known
    return known


async def _write(send: Send, body: bytes, *, more: bool = True) -> None:
    """Raises TimeoutError for a client that does not read."""
    async with asyncio.timeout(WRITE_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
