"""Keeping rejected messages whole, and closing the instance that a rejected message stood for.

Called by the store's rejections and by the consumer of dead letters. The instance is inserted and ended in the same
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
from daemon.postgres.settlements import settle
from daemon.postgres.statements import rejected as sql
from daemon.postgres.terminations import NO_PARAMS, insert_placeholders
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
        """Keep them all; for each, whether an orchestration completed by the batch."""
        values = {
            "message_ids": [storable_text(rejection.message_id) for rejection in rejections],
            "reasons": [rejection.reason for rejection in rejections],
            "texts": [storable_text(rejection.text) for rejection in rejections],
            "bodies": [rejection.data for rejection in rejections],
            "attributes": [json.dumps(rejection.attributes) for rejection in rejections],
            "published": [float(rejection.published) for rejection in rejections],
            "orchestration_ids": [_orchestration_of(rejection.attributes) for rejection in rejections],
        }
        async with self._engine.begin() as connection:
            await connection.execute(sql.KEEP, values)
            completes = await _end_missing(connection, rejections)
        return [completes] * len(rejections)


async def _end_missing(connection: AsyncConnection, rejections: Sequence[Rejection]) -> bool:
    """Make the instances that have no row yet and end them as Errored; those that have one are left alone."""
    by_id = {
        rejection.instance.job_id: (rejection.instance, rejection) for rejection in rejections if rejection.instance
    }
    if not by_id:
        return False
    instances = [by_id[job_id][0] for job_id in sorted(by_id)]
    await register(connection, instances)
    settlements = []
    rows = [(one.job_id, one.orchestration_id, one.index, one.job_name, one.params or NO_PARAMS) for one in instances]
    for job_id in await insert_placeholders(connection, rows):
        rejection = by_id[job_id][1]
        error = JobError(Kind.REJECTED, f"{rejection.reason}: {rejection.text}")
        settlements.append(settle_closed(UnfinishedJob(job_id, None, 0), error))
    return bool(settlements) and (await connection.run_sync(settle, settlements)).completes


def _orchestration_of(attributes: Mapping[str, str]) -> UUID | None:
    """Whose message it says it was; None when it does not say so readably."""
    try:
        return UUID(attributes["orchestration_id"])
    except (KeyError, ValueError):
        return None
