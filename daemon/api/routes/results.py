"""`/v1/orchestrations/{id}/results`: what came of the instances, in the order in which they finished.

Included by `app`. A page as JSON, or with `Accept: application/jsonl` all that have finished so far, one a line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from daemon.api.answers import InstanceResult, Page, instance, next_page
from daemon.api.resources import Opened, Resources
from daemon.job import Status

router = APIRouter(prefix="/v1/orchestrations", tags=["orchestrations"])

JSONL = "application/jsonl"
LINES = ("application/jsonl", "application/x-ndjson")
PAGE = 200  # with params and results of 10 MB, a page more would not fit into memory


@router.get(
    "/{orchestration_id}/results",
    response_model=Page[InstanceResult],
    responses={200: {"content": {JSONL: {"schema": InstanceResult.model_json_schema()}}}},
)
async def results(
    orchestration_id: UUID,
    request: Request,
    resources: Opened,
    status: Annotated[Status | None, Query(description="Completed or Errored; both when left out")] = None,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="a finish_number")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
) -> Response:
    """Finished instances with their original params: a page, or as JSONL all that have finished so far."""
    state = await resources.client.state(orchestration_id)
    secrets = await resources.queries.secrets_in_params(state.job_name)
    if any(kind in request.headers.get("Accept", "") for kind in LINES):
        lines = _lines(resources, orchestration_id, after, status, secrets)
        return StreamingResponse(lines, media_type=JSONL)
    found = await resources.client.outcomes(orchestration_id, after, status, limit)
    following = next_page(request, found[-1].finish_number if len(found) == limit else None)
    page = {"items": [instance(one, secrets) for one in found], "next": following}
    return Response(orjson.dumps(page), media_type="application/json")


async def _lines(
    resources: Resources, orchestration_id: UUID, after: int, status: Status | None, secrets: tuple[str, ...]
) -> AsyncIterator[bytes]:
    """A chunk for each page of the database; at most one page is in memory."""
    while page := await resources.client.outcomes(orchestration_id, after, status, PAGE):
        yield b"".join(orjson.dumps(instance(one, secrets), option=orjson.OPT_APPEND_NEWLINE) for one in page)
        after = page[-1].finish_number
