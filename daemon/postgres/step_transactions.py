"""Steps with tx=True: the author's statements and the record of the step, last, in one transaction.

Used by the context of every handler that runs in the worker. The job's row is locked by the record alone, just before
COMMIT, so that nobody waits for an author's statements. Whether a COMMIT without an answer took effect is read before
anything else: a transaction in doubt holds that lock until it has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import Transaction
from sqlalchemy.ext.asyncio import AsyncTransaction

from daemon.errors import InvalidStep
from daemon.job import Claim
from daemon.postgres.database import passes, step_engines
from daemon.postgres.statements import steps as sql
from daemon.postgres.steps import values
from daemon.recorder import RecordedStep

PAUSE_SECONDS = 0.5


class DatabaseTransactions:
    """The StepTransactions of a worker: at most `size` connections of its own for each kind of handler."""

    def __init__(
        self, url: str, size: int, statement_timeout: float, pooler: str = "none", *, show_values: bool = False
    ) -> None:
        self._engine, self._sync_engine = step_engines(url, size, pooler, show_values=show_values)
        self._set_up = {"timeout": f"{statement_timeout * 1000:.0f}ms"}

    async def run(self, claim: Claim, name: str, number: int, body: Callable[[object], Awaitable[str]]) -> str | None:
        """See StepTransactions; `body` gets an AsyncConnection."""
        committing = False
        try:
            async with self._engine.connect() as connection:
                transaction = await connection.begin()
                await connection.execute(sql.SET_UP_TRANSACTION, self._set_up)
                result = await body(connection)
                record = _record(claim, name, number, result, transaction)
                if (await connection.execute(sql.RECORD_STEPS, record)).first() is None:
                    return None
                committing = True
                await transaction.commit()
                return result
        except Exception as error:
            if not committing or not passes(error):
                raise
            taken = await self._outcome(claim, name)
            if taken is False:
                raise
            return result if taken else None

    def run_in_thread(self, claim: Claim, name: str, number: int, body: Callable[[object], str]) -> str | None:
        """See StepTransactions; `body` gets a Connection."""
        committing = False
        try:
            with self._sync_engine.connect() as connection:
                transaction = connection.begin()
                connection.execute(sql.SET_UP_TRANSACTION, self._set_up)
                result = body(connection)
                if (
                    connection.execute(sql.RECORD_STEPS, _record(claim, name, number, result, transaction)).first()
                    is None
                ):
                    return None
                committing = True
                transaction.commit()
                return result
        except Exception as error:
            if not committing or not passes(error):
                raise
            taken = self._outcome_in_thread(claim, name)
            if taken is False:
                raise
            return result if taken else None

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        await self._engine.dispose()
        self._sync_engine.dispose()

    async def _outcome(self, claim: Claim, name: str) -> bool | None:
        """Whether a transaction in doubt has committed; None when the claim is lost. Waits for the database."""
        while True:
            try:
                async with self._engine.begin() as connection:
                    if (await connection.execute(sql.LOCK_CLAIMED, _fence(claim))).first() is None:
                        return None
                    found = await connection.execute(sql.RECORDED_IN, {"id": claim.job_id, "name": name})
                    return bool(found.scalar() == claim.attempt)
            except Exception as error:
                if not passes(error):
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    def _outcome_in_thread(self, claim: Claim, name: str) -> bool | None:
        while True:
            try:
                with self._sync_engine.begin() as connection:
                    if connection.execute(sql.LOCK_CLAIMED, _fence(claim)).first() is None:
                        return None
                    found = connection.execute(sql.RECORDED_IN, {"id": claim.job_id, "name": name})
                    return bool(found.scalar() == claim.attempt)
            except Exception as error:
                if not passes(error):
                    raise
            time.sleep(PAUSE_SECONDS)


def _record(
    claim: Claim, name: str, number: int, result: str, transaction: AsyncTransaction | Transaction
) -> Mapping[str, object]:
    """The parameters of the record. Raises InvalidStep when the author has ended the transaction himself."""
    if not transaction.is_active:
        raise InvalidStep(f"step {name!r} ended its transaction itself: its record commits it")
    return values([(claim, RecordedStep(name, number, result, in_transaction=True))])


def _fence(claim: Claim) -> Mapping[str, object]:
    return {"id": claim.job_id, "attempt": claim.attempt, "me": claim.worker_id}
