"""Keeping rejected messages whole, and closing the instance that a rejected message stood for.

Called by the store's reject lane and by the consumer of dead letters. The instance is born and ended in the same
transaction in which the message is kept, so that its orchestration never waits for a message that nobody has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import JobError, JobMessage, Kind, UnfinishedJob
from daemon.postgres.claims import register
from daemon.postgres.settlements import Written, settle
from daemon.postgres.statements import rejected as sql
from daemon.postgres.statements import terminations as termination_sql
from daemon.postgres.terminations import NO_PARAMS
from daemon.rules.lifecycle import settle_closed
from daemon.rules.storable import storable_text


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that can't become a job. `instance` is what it stood for, if that is known."""

    message_id: str
    reason: str
    text: str
    data: bytes
    attributes: dict[str, str]
    published: float
    instance: JobMessage | None


class Rejections:
    """Writes batches of rejections."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, rejections: list[Rejection]) -> list[bool]:
        """Keep them all; for each, whether an orchestration completed by it."""
        async with self._engine.begin() as connection:
            await connection.execute(sql.KEEP, _columns(rejections))
            closing = [(one.instance, one) for one in rejections if one.instance is not None]
            errors = [JobError(Kind.REJECTED, f"{one.reason}: {one.text}") for _, one in closing]
            written = await end_unborn(connection, [instance for instance, _ in closing], errors)
        return [written is not None and written.completes for _ in rejections]


async def end_unborn(
    connection: AsyncConnection, instances: Sequence[JobMessage], errors: Sequence[JobError]
) -> Written | None:
    """Make the instances that have no row yet and end them as Errored; those that have one are left alone."""
    by_id = {one.job_id: (one, error) for one, error in zip(instances, errors, strict=True)}
    if not by_id:
        return None
    rows = [one for one, _ in sorted(by_id.values(), key=lambda pair: pair[0].job_id)]
    await register(connection, rows)
    born = await connection.execute(
        termination_sql.INSERT_PLACEHOLDERS,
        {
            "ids": [row.job_id for row in rows],
            "orchestration_ids": [row.orchestration_id for row in rows],
            "indexes": [row.index for row in rows],
            "names": [row.job_name for row in rows],
            "params": [row.params or NO_PARAMS for row in rows],
        },
    )
    settlements = [settle_closed(UnfinishedJob(row.id, None, 0), by_id[row.id][1]) for row in born]
    return await connection.run_sync(settle, settlements) if settlements else None


def _columns(rejections: Sequence[Rejection]) -> dict[str, object]:
    return {
        "message_ids": [storable_text(one.message_id) for one in rejections],
        "reasons": [one.reason for one in rejections],
        "texts": [storable_text(one.text) for one in rejections],
        "bodies": [one.data for one in rejections],
        "attributes": [json.dumps(one.attributes) for one in rejections],
        "published": [float(one.published) for one in rejections],
        "orchestration_ids": [_orchestration_of(one.attributes) for one in rejections],
    }


def _orchestration_of(attributes: Mapping[str, str]) -> UUID | None:
    """Whose message it says it was; None when it does not say so readably."""
    try:
        return UUID(attributes["orchestration_id"])
    except (KeyError, ValueError):
        return None
