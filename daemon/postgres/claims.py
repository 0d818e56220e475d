"""One claim transaction for a batch of messages: three statements, then the reason of every one that was not given.

Called by the store's claim lane. A claim takes free jobs only; whatever it did not get is explained by a row that it
read, or is left Undecided. It must not judge another worker's liveness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import WorkerGone, WorkerNotFresh
from daemon.job import Cause, Claim, ClaimAnswer, JobMessage, Refusal, Refused, Status, Undecided
from daemon.postgres.arrays import Bools, Ints, Texts, Uuids
from daemon.postgres.database import sqlstate
from daemon.postgres.statements import claim as sql
from daemon.postgres.wire import Cursor, Link, link_of, send, together
from daemon.rules.refusal import Mine, Sight, judge

UNIQUE_VIOLATION = "23505"
UNDECIDED = Undecided()


class _Pruned(Exception):
    """A claimed job's orchestration was deleted meanwhile; nothing was committed."""


class Claims:
    """Claims batches of messages for the worker that `me` names at the moment of writing."""

    def __init__(self, engine: AsyncEngine, me: Callable[[], UUID], worker_ttl: float) -> None:
        self._engine = engine
        self._me = me
        self._ttl = worker_ttl
        self._repeated: tuple[list[JobMessage], UUID] | None = None

    async def write(self, messages: list[JobMessage]) -> list[ClaimAnswer]:
        """The answers to `messages`, in order. Raises WorkerNotFresh, WorkerGone, and what the database raises."""
        try:
            return await self._write(messages)
        except _Pruned:
            return await self._write(messages)  # by now it sees that they are gone
        except (psycopg.IntegrityError, IntegrityError) as error:
            if sqlstate(error) != UNIQUE_VIOLATION:
                raise
        # Another worker was making the same row. ON CONFLICT (id) decides that, unless the row met the other unique
        # index first: the winner has committed by now, so a second try reads its row. Else two messages of this very
        # batch want one index, and the batch is split.
        return await self._write(messages)

    async def _write(self, messages: list[JobMessage]) -> list[ClaimAnswer]:
        me, token = self._me(), self._token(messages)
        first: dict[int, JobMessage] = {}  # by the number in the id: hashing a UUID is a call of Python code
        for message in messages:
            first.setdefault(message.job_id.int, message)
        batch = sorted(first.values(), key=lambda message: message.job_id.int)
        async with self._engine.begin() as connection:
            link = await link_of(connection)
            async with together(link):  # in one round trip, each with a snapshot of its own
                fresh = await send(link, sql.FRESH, {"me": me, "ttl": self._ttl})
                await self._register(link, batch)
                taken = await self._take(link, batch, me, token)
                orphans = await send(link, sql.ORPHANS, {"ids": Uuids([one.job_id for one in batch]), "token": token})
            if await orphans.fetchone() is not None:
                raise _Pruned
            if await fresh.fetchone() is None:
                await self._confess(connection, me)
            answers = await self._claims(taken, first, me)
            if len(answers) < len(batch):
                await self._explain(connection, batch, answers, me, token)
            given = [self._answer(message, first, answers) for message in messages]
            await self._remember(connection, messages, given, me)
        self._repeated = None
        return given

    def _token(self, messages: list[JobMessage]) -> UUID:
        """The same token when the same batch is tried again: so a lost answer to COMMIT is recognised as ours."""
        if self._repeated is None or len(self._repeated[0]) != len(messages) or self._repeated[0][0] is not messages[0]:
            self._repeated = (list(messages), uuid4())
        return self._repeated[1]

    async def _confess(self, connection: AsyncConnection, me: UUID) -> None:
        if (await connection.execute(sql.EXISTS, {"me": me})).first() is None:
            raise WorkerGone(f"worker {me} was declared dead")
        raise WorkerNotFresh(f"worker {me} has no fresh heartbeat")

    async def _register(self, link: Link, batch: Sequence[JobMessage]) -> None:
        new: dict[int, JobMessage] = {}
        for message in batch:
            if message.creates and message.count is not None:
                new.setdefault(message.orchestration_id.int, message)
        if not new:
            return
        rows = sorted(new.values(), key=lambda message: message.orchestration_id.int)
        await send(
            link,
            sql.ORCHESTRATIONS,
            {
                "ids": Uuids([row.orchestration_id for row in rows]),
                "names": Texts([row.job_name for row in rows]),
                "totals": Ints([row.count for row in rows]),
                "tags": Texts([json.dumps(dict(row.tags)) if row.tags else "{}" for row in rows]),
                "traceparents": Texts([row.traceparent for row in rows]),
            },
        )

    async def _take(self, link: Link, batch: Sequence[JobMessage], me: UUID, token: UUID) -> Cursor:
        return await send(
            link,
            sql.JOBS,
            {
                "me": me,
                "token": token,
                "ids": Uuids([message.job_id for message in batch]),
                "orchestration_ids": Uuids([message.orchestration_id for message in batch]),
                "indexes": Ints([message.index for message in batch]),
                "counts": Ints([message.count for message in batch]),
                "names": Texts([message.job_name for message in batch]),
                "params": Texts([message.params for message in batch]),
                "creates": Bools([message.creates for message in batch]),
                "message_ids": Texts([message.message_id for message in batch]),
            },
        )

    async def _claims(self, taken: Cursor, sent: Mapping[int, JobMessage], me: UUID) -> dict[int, ClaimAnswer]:
        return {row.id.int: _claim(row, me, sent[row.id.int].params) for row in await taken.fetchall()}

    async def _explain(
        self,
        connection: AsyncConnection,
        batch: Sequence[JobMessage],
        answers: dict[int, ClaimAnswer],
        me: UUID,
        token: UUID,
    ) -> None:
        left = {message.job_id: message for message in batch if message.job_id.int not in answers}
        rows = await connection.execute(
            sql.REASONS,
            {
                "ids": list(left),
                "orchestration_ids": [message.orchestration_id for message in left.values()],
                "indexes": [message.index for message in left.values()],
                "creates": [message.creates for message in left.values()],
            },
        )
        late: dict[UUID, str] = {}
        for row in rows.mappings():
            message = left[row["id"]]
            if row["lacks_params"] and message.params is not None:
                late[row["taken_by"] or row["id"]] = message.params
            answer = judge(message, _sight(row), me, token)
            answers[message.job_id.int] = (
                _claim(SimpleNamespace(**row), me, message.params) if isinstance(answer, Mine) else answer
            )
        if late:
            await connection.execute(sql.KEEP_PARAMS, {"ids": list(late), "params": list(late.values())})

    async def _remember(
        self, connection: AsyncConnection, messages: Sequence[JobMessage], answers: Sequence[ClaimAnswer], me: UUID
    ) -> None:
        """Keep every delivery after the first in its job's history, those within this batch included."""
        again = [
            (message, answer.cause)
            for message, answer in zip(messages, answers, strict=True)
            if isinstance(answer, Refused) and answer.cause is not None
        ]
        if again:
            await connection.execute(
                sql.REDELIVERIES,
                {
                    "me": me,
                    "job_ids": [message.job_id for message, _ in again],
                    "causes": [cause.value for _, cause in again],
                    "message_ids": [message.message_id for message, _ in again],
                },
            )

    @staticmethod
    def _answer(
        message: JobMessage, first: Mapping[int, JobMessage], answers: Mapping[int, ClaimAnswer]
    ) -> ClaimAnswer:
        answer, earliest = answers.get(message.job_id.int, UNDECIDED), first[message.job_id.int]
        if earliest is message or not isinstance(answer, Claim):
            return answer
        same = earliest.message_id == message.message_id
        return Refused(Refusal.HELD, Cause.LEASE_EXPIRED if same else Cause.DUPLICATE_PUBLISH)


def _claim(row: Any, me: UUID, own_params: str | None) -> Claim:
    cause = row.cause
    return Claim(
        job_id=row.id,
        orchestration_id=row.orchestration_id,
        worker_id=me,
        index=row.index,
        count=row.total,
        job_name=row.job_name,
        params=row.params or own_params or "{}",
        attempt=row.attempt,
        failures=row.failures,
        losses=row.losses,
        tags=row.tags or {},
        checkpoint=row.checkpoint,
        age=row.age,
        deadline_in=row.deadline_in,
        cause=Cause(cause) if cause is not None and row.attempt > 1 else None,
        traceparent=row.traceparent,
    )


def _sight(row: RowMapping) -> Sight:
    return Sight(
        born=row["born"],
        status=Status(row["status"]) if row["status"] else None,
        worker_id=row["worker_id"],
        claim_token=row["claim_token"],
        message_id=row["message_id"],
        early=bool(row["early"]),
        elsewhere=bool(row["elsewhere"]),
        registered=row["registered"],
        registered_total=row["registered_total"],
        registered_name=row["registered_name"],
        closing=bool(row["closing"]),
        taken_by=row["taken_by"],
        taken_status=Status(row["taken_status"]) if row["taken_status"] else None,
        taken_attempt=row["taken_attempt"],
    )
