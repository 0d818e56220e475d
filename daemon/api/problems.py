"""Errors as `application/problem+json` (RFC 9457), all of one shape.

Used by the routes' exception handlers and by the middlewares. The text is for whoever wrote the request; nothing of the
request itself is repeated in it, for it may hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from daemon.errors import OrchestrationNotFound, RequestRefused, StoreUnavailable

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What is wrong with a request, or with us. `errors` says where, for a request that is not of the right form."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, str]] | None = None


RESPONSES: dict[int | str, dict[str, object]] = {
    "default": {"description": "What is wrong", "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
}


def problem(
    status: int,
    detail: str,
    request_id: str,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a response."""
    title = HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, request_id=request_id, errors=errors)
    content = orjson.dumps(body.model_dump(exclude_none=True))
    return Response(content, status, dict(headers or {}), MEDIA_TYPE)


def register(app: FastAPI) -> None:
    """Let the application answer these errors with problems."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OrchestrationNotFound, _not_found)
    app.add_exception_handler(RequestRefused, _conflict)
    app.add_exception_handler(StoreUnavailable, _unavailable)


def unavailable(request_id: str) -> Response:
    """The database does not answer; nobody but an operator can do something about it."""
    text = "the database does not answer; try again"
    return problem(503, text, request_id, headers={"Retry-After": "5"})


def refusal(request_id: str) -> Response:
    """Not let in; whoever asks is not told why."""
    headers = {"WWW-Authenticate": 'Bearer realm="headcount"'}
    return problem(401, "credentials that count are needed", request_id, headers=headers)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), request.state.request_id, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"location": "/".join(str(step) for step in one["loc"]), "message": str(one["msg"])} for one in error.errors()
    ]
    return problem(422, "the request is not of the right form", request.state.request_id, errors)


async def _not_found(request: Request, error: Exception) -> Response:
    return problem(404, str(error), request.state.request_id)


async def _conflict(request: Request, error: Exception) -> Response:
    return problem(409, str(error), request.state.request_id)


async def _unavailable(request: Request, _error: Exception) -> Response:
    return unavailable(request.state.request_id)
