"""`/v1/orchestrations`: kick one off, find some, look at one and its jobs, cancel it, run its failures again.

Included by `app`. Pages are keyset pages: what is kicked off meanwhile shifts nothing.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from starlette.exceptions import HTTPException

from daemon.api.answers import Count, ExplanationAnswer, Page, Word, explanation, next_page
from daemon.api.resources import Opened, caller_of
from daemon.errors import RequestRefused
from daemon.inspection import JobSummary
from daemon.job import Kind
from daemon.orchestration import ListState, OrchestrationFilter, OrchestrationState, OrchestrationSummary

router = APIRouter(prefix="/v1/orchestrations", tags=["orchestrations"])

LONGEST_SECONDS = 10 * 365 * 86_400.0
MOST = 1_000
Limit = Annotated[int, Query(ge=1, le=MOST)]
Age = Annotated[float | None, Query(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]


class KickOff(BaseModel):
    """What to start: one instance per element of `params`. `deadline_seconds` counts from now."""

    model_config = ConfigDict(extra="forbid")

    job_name: str
    params: list[dict[str, JsonValue]]
    tags: dict[str, str] = Field(default_factory=dict)
    deadline_seconds: float | None = Field(None, gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    start_at: AwareDatetime | None = None


@router.post("", status_code=201)
async def kick_off(
    body: KickOff,
    response: Response,
    resources: Opened,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> OrchestrationState:
    """Kick off an orchestration. A repeated request with the same `Idempotency-Key` gets the first one's again."""
    deadline = None if body.deadline_seconds is None else timedelta(seconds=body.deadline_seconds)
    try:
        begun = await resources.client.kick_off(
            body.job_name,
            body.params,
            tags=body.tags,
            deadline=deadline,
            start_at=body.start_at,
            idempotency_key=idempotency_key,
        )
    except RequestRefused as refused:
        raise HTTPException(422, str(refused)) from None
    response.headers["Location"] = f"/v1/orchestrations/{begun.id}"
    return await begun.progress()


@router.get("")
async def list_orchestrations(
    request: Request,
    resources: Opened,
    state: ListState | None = None,
    job_name: Word | None = None,
    tag: Annotated[list[str] | None, Query(description="KEY=VALUE; repeated: with all of them")] = None,
    kind: Annotated[Kind | None, Query(description="with an Errored instance of this kind")] = None,
    older_than_seconds: Age = None,
    newer_than_seconds: Age = None,
    after: UUID | None = None,
    limit: Limit = 50,
) -> Page[OrchestrationSummary]:
    """Orchestrations, newest first, by the filters of `headcount list`."""
    wanted = OrchestrationFilter(state, job_name, _tags(tag or ()), kind, older_than_seconds, newer_than_seconds)
    found = await resources.queries.orchestrations(wanted, after, limit)
    return Page(items=found, next=next_page(request, found[-1].id if len(found) == limit else None))


@router.get("/{orchestration_id}")
async def state(orchestration_id: UUID, resources: Opened) -> OrchestrationState:
    """How far an orchestration is."""
    return await resources.client.state(orchestration_id)


@router.get("/{orchestration_id}/jobs")
async def jobs(
    orchestration_id: UUID,
    request: Request,
    resources: Opened,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1)] = -1,
    limit: Limit = 50,
) -> Page[JobSummary]:
    """Its jobs by index, without their params and results. A job whose message never came has no row."""
    if after < 0:
        await resources.client.state(orchestration_id)
    found = await resources.queries.jobs(orchestration_id, after, limit)
    return Page(items=found, next=next_page(request, found[-1].index if len(found) == limit else None))


@router.get("/{orchestration_id}/explain")
async def explain(orchestration_id: UUID, resources: Opened) -> ExplanationAnswer:
    """Why it is not finished, in verdicts with examples."""
    return explanation(await resources.queries.explain(orchestration_id))


@router.post("/{orchestration_id}/cancel")
async def cancel(orchestration_id: UUID, request: Request, resources: Opened) -> Count:
    """End every unfinished instance as Errored (kind Cancelled). Workers go on with it if the connection is cut."""
    await resources.client.state(orchestration_id)
    work = partial(resources.client.cancel, orchestration_id)
    return Count(count=await resources.audit.around(caller_of(request), "cancel", orchestration_id, work))


@router.post("/{orchestration_id}/retry")
async def retry(orchestration_id: UUID, request: Request, resources: Opened) -> Count:
    """Run the Errored instances of a finished orchestration again, as a new generation; 409 while it is unfinished."""
    await resources.client.state(orchestration_id)
    work = partial(resources.client.retry_failed, orchestration_id)
    return Count(count=await resources.audit.around(caller_of(request), "retry", orchestration_id, work))


def _tags(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or "\0" in text:
            raise RequestValidationError([{"loc": ("query", "tag"), "msg": "is not KEY=VALUE"}])
        found[key] = value
    return found
