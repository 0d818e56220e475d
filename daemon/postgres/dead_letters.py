"""Where dead letters end: counted against their jobs, or kept as rejected.

Called by the engine's consumer of dead letters. A job that a worker holds, or that waits for its date, is left alone:
its message was only one of several. One that is free and due is published again; its third dead letter since its last
claim ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.dead_letter import DeadLetter, PulledMessage, RecordedDeadLetters
from daemon.job import JobError, Kind, UnfinishedJob
from daemon.postgres.claims import register
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.settlements import settle
from daemon.postgres.statements import dead_letters as sql
from daemon.rules.lifecycle import settle_closed

DEAD_LETTERS_LIMIT = 3
OLD = "it was published longer ago than its subscription keeps messages, so its job may have been pruned"
DISAGREES = "it disagrees with the orchestration that it names, or its place there is taken"
UNKNOWN = "its job is not registered, and it carries no params"


class DeadLetterStore:
    """Records dead letters."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._rejections = Rejections(engine)

    async def record(self, letters: Sequence[DeadLetter], retention: float) -> RecordedDeadLetters:
        """Count one dead letter for each job (at most one of these letters may name it), and date it for publication.

        A message without a row makes one if it was first published less than `retention` seconds ago and agrees with
        what is registered. Safe to repeat: a letter that was counted is not counted again.
        """
        ordered = sorted(letters, key=lambda one: one.message.job_id)
        if not ordered:
            return RecordedDeadLetters(0, 0, {})
        async with self._engine.begin() as connection:
            again, ended = await _count(connection, ordered)
            unknown = await _unknown(connection, ordered)
        if not unknown:
            return RecordedDeadLetters(again, ended, {})
        async with self._engine.begin() as connection:
            refused = await _register(connection, unknown, retention)
        return RecordedDeadLetters(again + len(unknown) - len(refused), ended, refused)

    async def archive(self, message: PulledMessage, reason: str, text: str) -> None:
        """Keep a message as rejected."""
        rejection = Rejection(
            message.message_id, reason, text, message.data, dict(message.attributes), message.publish_time, None
        )
        await self._rejections.write([rejection])


async def _count(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> tuple[int, int]:
    """How many jobs are published again, and how many ended."""
    histories = {one.message.job_id: one.history for one in letters}
    rows = (await connection.execute(sql.RECORD, _dated(letters))).all()
    spent = [UnfinishedJob(row.id, None, row.attempt) for row in rows if row.dead_letters >= DEAD_LETTERS_LIMIT]
    if spent:
        texts = {one.job_id: f"{histories[one.job_id]}, for the third time without a run" for one in spent}
        errors = {one.job_id: JobError(Kind.DEAD_LETTERED, texts[one.job_id]) for one in spent}
        await connection.run_sync(settle, [settle_closed(one, errors[one.job_id]) for one in spent])
    return len(rows) - len(spent), len(spent)


async def _unknown(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Those whose message is still needed: no row has what it brings."""
    ids = [one.message.job_id for one in letters]
    await connection.execute(sql.GIVE_PARAMS, {"ids": ids, "params": [one.message.params for one in letters]})
    rows = {row.id: row.lacks_params for row in await connection.execute(sql.KNOWN, {"ids": ids})}
    # One that was ended from outside since GIVE_PARAMS lacks them still.
    return [
        one
        for one in letters
        if one.message.job_id not in rows or (rows[one.message.job_id] and one.message.params is not None)
    ]


async def _register(connection: AsyncConnection, letters: Sequence[DeadLetter], retention: float) -> dict[UUID, str]:
    """Make jobs that are due now; why not, for those of which none was made."""
    refused = {one.message.job_id: UNKNOWN for one in letters if not one.message.carries_params}
    making = [one for one in letters if one.message.carries_params]
    recent = {row.id for row in await connection.execute(sql.RECENT, _dated(making) | {"retention": retention})}
    refused |= {one.message.job_id: OLD for one in making if one.message.job_id not in recent}
    messages = [one.message for one in making if one.message.job_id in recent]
    await register(connection, messages)
    made = await connection.execute(
        sql.REGISTER,
        {
            "ids": [message.job_id for message in messages],
            "orchestration_ids": [message.orchestration_id for message in messages],
            "indexes": [message.index for message in messages],
            "counts": [message.count for message in messages],
            "names": [message.job_name for message in messages],
            "params": [message.params or "{}" for message in messages],
        },
    )
    registered = {row.id for row in made}
    return refused | {message.job_id: DISAGREES for message in messages if message.job_id not in registered}


def _dated(letters: Sequence[DeadLetter]) -> dict[str, object]:
    return {
        "ids": [one.message.job_id for one in letters],
        "moments": [one.first_published for one in letters],
    }
