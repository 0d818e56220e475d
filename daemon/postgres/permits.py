"""Permits that became free go to the jobs that have waited longest for them.

Called by the engine's ticker: at once when a settlement has released permits, and each second. A permit is given here,
with the lock of its key; the claim of the woken job finds it.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.statements import limits as sql

KEYS_PER_ROUND = 500
ROUNDS_BETWEEN_CLEANINGS = 3_600


class Permits:
    """Wakes jobs that wait for a permit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._rounds = 0

    async def wake(self) -> int:
        """Date the waiters of every key that has room; how many were woken."""
        self._rounds += 1
        async with self._engine.begin() as connection:
            if self._rounds % ROUNDS_BETWEEN_CLEANINGS == 0:
                await connection.execute(sql.FORGET_KEYS)
            found = (await connection.execute(sql.KEYS_WITH_ROOM, {"limit": KEYS_PER_ROUND})).all()
            if not found:
                return 0
            keys = {"limits": [row.limit_name for row in found], "keys": [row.key for row in found]}
            await connection.execute(sql.LOCK_GIVEN_KEYS, keys)
            return len((await connection.execute(sql.WAKE, keys)).all())
