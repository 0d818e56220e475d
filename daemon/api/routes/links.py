"""`/v1/orchestrations/{id}/links`, `/v1/links/{id}` and `/v1/audit`: links for end users, and who asked for what.

Included by `app`. A token is told once, when its link is made; no row holds it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from daemon.api.answers import Page, Word, next_page
from daemon.api.resources import Opened, caller_of
from daemon.progress_link import AuditEntry, ProgressLink, Shown

router = APIRouter(prefix="/v1", tags=["links"])

LONGEST_SECONDS = 366 * 86_400.0
LAST = 2**63 - 1


class NewLink(BaseModel):
    """A link to make: how long it opens something, and what."""

    model_config = ConfigDict(extra="forbid")

    expires_seconds: float = Field(86_400.0, gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    show: list[Shown] = Field(default_factory=lambda: [Shown.COUNTS, Shown.PROGRESS], min_length=1)


class MadeLink(BaseModel):
    """A link, and its token: `path` is for an EventSource, with the API's own address before it."""

    id: UUID
    token: str
    path: str
    show: list[Shown]
    expires_at: datetime


@router.post("/orchestrations/{orchestration_id}/links", status_code=201)
async def create_link(orchestration_id: UUID, body: NewLink, request: Request, resources: Opened) -> MadeLink:
    """Make a link to the progress of one orchestration, for somebody without credentials."""
    resources.keys.require()
    await resources.client.state(orchestration_id)
    link = await resources.links.create(orchestration_id, body.show, body.expires_seconds, caller_of(request))
    token = resources.keys.token(link)
    path = f"/v1/orchestrations/{orchestration_id}/events?link={token}"
    return MadeLink(id=link.id, token=token, path=path, show=list(link.show), expires_at=link.expires_at)


@router.get("/orchestrations/{orchestration_id}/links")
async def links(orchestration_id: UUID, resources: Opened) -> list[ProgressLink]:
    """The links of an orchestration, the newest first, without their tokens."""
    return await resources.links.of(orchestration_id)


@router.delete("/links/{link_id}", status_code=204)
async def revoke_link(link_id: UUID, request: Request, resources: Opened) -> None:
    """Revoke a link: it opens nothing any more, and streams that it has opened end within 15 seconds."""
    if not await resources.links.revoke(link_id, caller_of(request)):
        raise HTTPException(404, f"no link has the id {link_id}")


@router.get("/audit")
async def audit(
    request: Request,
    resources: Opened,
    action: Word | None = None,
    orchestration_id: UUID | None = None,
    after: Annotated[int, Query(ge=0, le=LAST)] = LAST,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> Page[AuditEntry]:
    """Who asked for which change over the API, the newest first: cancel, retry, link, revoke."""
    found = await resources.audit.entries(after, limit, action, orchestration_id)
    return Page(items=found, next=next_page(request, found[-1].id if len(found) == limit else None))
