"""`GET /v1/orchestrations/{id}/progress`: the stream's twin for proxies that hold back what is not complete.

Included by `app`. A request waits until there is something new after its cursor, or until its time is over.
"""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, JsonValue

from daemon.api.problems import problem, refusal
from daemon.api.resources import Opened
from daemon.api.streams.events import instead_of_progress, link_of, wait_for
from daemon.api.streams.follower import Follower

router = APIRouter(prefix="/v1/orchestrations", tags=["orchestrations"])


class Progress(BaseModel):
    """What is new since a cursor: a snapshot, or facts; and the state. With `final` there will be nothing more."""

    cursor: str
    final: bool
    snapshot: JsonValue
    facts: list[JsonValue]
    state: JsonValue


@router.get(
    "/{orchestration_id}/progress", response_model=Progress, responses={204: {"description": "Everything is known"}}
)
async def progress(
    orchestration_id: UUID,
    request: Request,
    resources: Opened,
    cursor: Annotated[str, Query(max_length=100)] = "",
    wait_seconds: Annotated[float, Query(ge=0, le=60, allow_inf_nan=False)] = 25.0,
) -> Response:
    """What is new since `cursor`, as soon as there is something, or the state as it is when the time is over.

    204 for the final cursor: there is nothing more to come.
    """
    loop, reader = asyncio.get_running_loop(), resources.reader
    end = loop.time() + wait_seconds
    link = link_of(request)
    link_id = None if link is None else link.id
    with reader.following(orchestration_id, link_id) as (watch, waker):
        follower = Follower(watch, cursor, None if link is None else frozenset(link.show))
        answer = await instead_of_progress(reader, watch, follower, waker, request.state.request_id)
        if answer is not None:
            return answer
        seen = watch.version if follower.lacks_nothing else None
        while watch.version == seen and not reader.closed and loop.time() < end:
            waker.clear()
            await wait_for(waker, end)
            if reader.has_ended(link_id):
                return refusal(request.state.request_id)
        update = follower.next()
    if update is None:
        return problem(404, f"no orchestration has the id {orchestration_id} any more", request.state.request_id)
    parts = {
        "cursor": str(update.cursor),
        "final": update.final,
        "snapshot": None if update.snapshot is None else orjson.Fragment(update.snapshot),
        "facts": [orjson.Fragment(fact) for fact in update.facts],
        "state": orjson.Fragment(update.state),
    }
    return Response(orjson.dumps(parts), media_type="application/json")
