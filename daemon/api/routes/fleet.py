"""`/v1/jobs/{id}`, `/v1/handlers`, `/v1/workers` and `/v1/rejected`: one job, and what runs and refuses jobs.

Included by `app`. Reading only.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from daemon.api.answers import JobAnswer, Page, Word, job, next_page
from daemon.api.resources import Opened
from daemon.inspection import HandlerDescription, RejectedSummary, WorkerStatus

router = APIRouter(prefix="/v1")

LAST = 2**63 - 1


@router.get("/jobs/{job_id}", response_model=JobAnswer, tags=["jobs"])
async def one_job(job_id: UUID, resources: Opened) -> Response:
    """One job: where it stands, its failed attempts and its repeated deliveries. Its params are masked."""
    found = await resources.queries.explain_job(job_id)
    secrets = await resources.queries.secrets_in_params(found.job.job_name)
    return Response(job(found, secrets), media_type="application/json")


@router.get("/handlers", tags=["fleet"])
async def handlers(resources: Opened) -> list[HandlerDescription]:
    """What the workers' handlers take and return, as the revision that started last describes them."""
    return await resources.queries.handlers()


@router.get("/workers", tags=["fleet"])
async def workers(resources: Opened) -> list[WorkerStatus]:
    """Every registered worker, and how old its heartbeat is."""
    return await resources.queries.workers()


@router.get("/rejected", tags=["fleet"])
async def rejected(
    request: Request,
    resources: Opened,
    reason: Word | None = None,
    newest: bool = False,
    after: Annotated[int | None, Query(ge=0, le=LAST)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> Page[RejectedSummary]:
    """Messages that could not become jobs, without their bodies, the oldest first or the newest."""
    found = await resources.queries.rejected(after, reason, limit, newest=newest)
    return Page(items=found, next=next_page(request, found[-1].id if len(found) == limit else None))
