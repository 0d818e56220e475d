"""The application: routes, errors and middlewares put together.

Built by `server`. The order of the middlewares matters: a request has its id before it can be refused, and is let in
before its body is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from daemon.api import problems
from daemon.api.authentication import Authentication
from daemon.api.credentials import Credentials, is_loopback
from daemon.api.identity_tokens import IdentityTokens
from daemon.api.requests import BodyLimit, Requests
from daemon.api.resources import opened
from daemon.api.routes import fleet, links, orchestrations, progress, results
from daemon.api.streams.events import EventStream
from daemon.settings import Settings
from daemon.telemetry.metrics.requests import RequestMetrics

BEARER = {"bearer": {"type": "http", "scheme": "bearer", "description": "A static token, or Google's identity token."}}

EVENTS = {
    "summary": "Events",
    "description": "Progress as Server-Sent Events: snapshot, facts, state, final. An event's id is the cursor.",
    "tags": ["orchestrations"],
    "parameters": [
        {"name": "orchestration_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
        {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}},
        {"name": "last_event_id", "in": "query", "required": False, "schema": {"type": "string"}},
    ],
    "responses": {
        "200": {"description": "The stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        "204": {"description": "Everything is known"},
        **problems.RESPONSES,
    },
}


def make_app(
    settings: Settings,
    credentials: Credentials,
    metrics: RequestMetrics,
    version: str,
    stopping: Callable[[], bool],
) -> FastAPI:
    """The application of one process. `stopping` says that its streams are to end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        async with opened(settings, metrics, stopping) as resources:
            yield {"resources": resources}

    app = FastAPI(
        title="Headcount",
        version=version,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # both pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    # Each has its whole prefix, for a metric's label is a route's own path.
    for part in (orchestrations, results, progress, links, fleet):
        app.include_router(part.router, responses=problems.RESPONSES)
    stream = EventStream(settings.api_stream_seconds)
    events = Route("/v1/orchestrations/{orchestration_id:uuid}/events", stream, methods=["GET"])
    events.methods = {"GET"}  # a HEAD would wait for the end of the stream
    app.router.routes.append(events)
    problems.register(app)
    app.add_middleware(BodyLimit, limit=settings.api_body_limit_bytes)
    app.add_middleware(
        Authentication,
        credentials=credentials,
        metrics=metrics,
        local=is_loopback(settings.api_host) and settings.api_auth is None,
        identity_tokens=IdentityTokens(credentials.audience) if credentials.accounts else None,
    )
    app.add_middleware(Requests, metrics=metrics)
    _require_bearer(app, required=credentials.required)
    return app


def _require_bearer(app: FastAPI, *, required: bool) -> None:
    """Say in the OpenAPI document how a caller shows who it is: a middleware does not tell by itself."""
    describe = app.openapi

    def described() -> dict[str, object]:
        document = describe()
        document.setdefault("components", {})["securitySchemes"] = BEARER
        document["paths"]["/v1/orchestrations/{orchestration_id}/events"] = {"get": EVENTS}
        document["security"] = [{"bearer": []}] if required else []
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
