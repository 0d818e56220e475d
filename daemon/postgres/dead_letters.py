"""Where dead letters end: their jobs are closed, or the message is kept as rejected.

Called by the engine's consumer of dead letters. A job that a worker holds is left to it: its message was only one of
several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Held, JobError, JobMessage
from daemon.postgres.rejections import Rejection, Rejections, end_unborn
from daemon.postgres.settlements import settle
from daemon.postgres.statements import orchestrations as sql
from daemon.rules.lifecycle import close


class Letter(Protocol):
    """What is kept of a message."""

    @property
    def data(self) -> bytes:
        """The body."""
        ...

    @property
    def attributes(self) -> Mapping[str, str]:
        """The attributes."""
        ...

    @property
    def message_id(self) -> str:
        """The id."""
        ...

    @property
    def publish_time(self) -> float:
        """Seconds since the epoch."""
        ...


class Graveyard:
    """Closes the jobs of dead letters."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._rejections = Rejections(engine)

    async def bury(self, letters: Sequence[tuple[JobMessage, JobError]]) -> frozenset[str]:
        """End every unfinished, unheld job of these messages, born or not; the ids of messages without any row."""
        messages = {message.job_id: (message, error) for message, error in letters}
        unborn = [(message, error) for message, error in messages.values() if message.creates]
        async with self._engine.begin() as connection:
            await end_unborn(connection, [message for message, _ in unborn], [error for _, error in unborn])
            rows = (await connection.execute(sql.UNFINISHED_JOBS, {"ids": sorted(messages)})).all()
            free = [Held(row.id, None, row.attempt) for row in rows if row.worker_id is None]
            if free:
                await settle(connection, [close(one, messages[one.job_id][1]) for one in free])
            known = {row.id for row in await connection.execute(sql.KNOWN_JOBS, {"ids": sorted(messages)})}
        return frozenset(message.message_id for message, _ in letters if message.job_id not in known)

    async def keep(self, letter: Letter, reason: str, text: str) -> None:
        """Keep a message as rejected."""
        rejection = Rejection(
            letter.message_id, reason, text, letter.data, dict(letter.attributes), letter.publish_time, None
        )
        await self._rejections.write([rejection])
