"""One claim transaction for a batch of messages, then the reason of every one that was not given.

Called by the store's claim lane. A claim takes free jobs only; whatever it did not get is explained by a row that it
read, or is left TryAgain. It must not explain_refusal another worker's liveness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import WorkerGone, WorkerNotFresh
from daemon.job import Cause, Claim, ClaimAnswer, JobMessage, Refusal, Refused, Status, TryAgain
from daemon.postgres.arrays import Bools, Ints, Texts, Uuids
from daemon.postgres.statements import claim as sql
from daemon.postgres.wire import Kept, Query, Rows, commit_together, link_of
from daemon.rules.claim_answer import AlreadyClaimedByUs, ClaimView, explain_refusal

TRY_AGAIN = TryAgain()
LOCK_TIMEOUT = "1s"  # nothing holds a free job's row for longer than a batch takes


class _Pruned(Exception):
    """A claimed job's orchestration was deleted meanwhile; nothing was committed."""


class Claims:
    """Claims batches of messages for the worker that `me` names at the moment of writing."""

    def __init__(self, engine: AsyncEngine, me: Callable[[], UUID], worker_ttl: float) -> None:
        self.kept = Kept(engine)
        self._me = me
        self._ttl = worker_ttl
        self._tried: dict[int, JobMessage] = {}  # not answered yet; by identity, which they keep while they are here
        self._latest = uuid4()

    async def write(self, messages: list[JobMessage]) -> list[ClaimAnswer]:
        """The answers to `messages`, in order. Raises WorkerNotFresh, WorkerGone, and what the database raises."""
        token = self._token(messages)
        try:
            answers = await self._write(messages, token)
        except psycopg.errors.LockNotAvailable:
            answers = await self._write_unlocked(messages, token)
        except _Pruned:
            answers = await self._write(messages, token)  # by now it sees that they are gone
        except psycopg.errors.UniqueViolation:
            # Another worker was making the same row. ON CONFLICT (id) decides that, unless the row met the other unique
            # index first: the winner has committed by now, so a second try reads its row. Else two messages of this
            # very batch want one index, and the batch is split.
            answers = await self._write(messages, token)
        for message in messages:
            self._tried.pop(id(message), None)
        return answers

    async def _write_unlocked(self, messages: list[JobMessage], token: UUID) -> list[ClaimAnswer]:
        """The same without the jobs whose row somebody else holds: those are TryAgain, for they hold up all others."""
        me, ids = self._me(), Uuids([message.job_id for message in messages])
        async with self.kept.connection() as connection:
            (rows,) = await self._commit(connection, me, [(sql.LOCKED, {"ids": ids})])
        held = {row.id.int for row in rows}
        free = [message for message in messages if message.job_id.int not in held]
        given = iter(await self._write(free, token) if free else [])
        return [TRY_AGAIN if message.job_id.int in held else next(given) for message in messages]

    def _token(self, messages: list[JobMessage]) -> UUID:
        """The same token when the same batch, or a part of it, is tried again: what it has claimed by then is ours."""
        if id(messages[0]) not in self._tried:
            self._tried = {id(message): message for message in messages}
            self._latest = uuid4()
        return self._latest

    async def _write(self, messages: list[JobMessage], token: UUID) -> list[ClaimAnswer]:
        me = self._me()
        first: dict[int, JobMessage] = {}  # by the number in the id: hashing a UUID is a call of Python code
        for message in messages:
            first.setdefault(message.job_id.int, message)
        batch = sorted(first.values(), key=lambda message: message.job_id.int)
        async with self.kept.connection() as connection:
            taken = await self._take(connection, batch, me, token)
            answers: dict[int, ClaimAnswer] = {}
            for row in taken:
                answers[row.id.int] = _claim(row, me, first[row.id.int].params)
            if len(answers) == len(messages):
                return [answers[message.job_id.int] for message in messages]
            async with connection.begin():
                if len(answers) < len(batch):
                    await self._explain(connection, batch, answers, me, token)
                given = [self._answer(message, first, answers) for message in messages]
                await self._remember(connection, messages, given, me)
            return given

    async def _take(
        self, connection: AsyncConnection, batch: Sequence[JobMessage], me: UUID, token: UUID
    ) -> Sequence[Any]:
        """Claim and commit; the rows of what was claimed."""
        ids = Uuids([message.job_id for message in batch])
        orphans = (sql.ORPHANS, {"ids": ids, "token": token})
        jobs = (
            sql.JOBS,
            {
                "me": me,
                "token": token,
                "ids": ids,
                "orchestration_ids": Uuids([message.orchestration_id for message in batch]),
                "indexes": Ints([message.index for message in batch]),
                "counts": Ints([message.count for message in batch]),
                "names": Texts([message.job_name for message in batch]),
                "params": Texts([message.params for message in batch]),
                "creates": Bools([message.creates for message in batch]),
                "message_ids": Texts([message.message_id for message in batch]),
            },
        )
        return (await self._commit(connection, me, [*_registration(batch), jobs, orphans]))[-2]

    async def _commit(self, connection: AsyncConnection, me: UUID, queries: Sequence[Query]) -> list[Rows]:
        """Run them in a transaction that this worker may have only with a fresh heartbeat; the rows of each."""
        link = link_of(connection)
        fresh = (sql.FRESH, {"me": me, "ttl": self._ttl, "lock_timeout": LOCK_TIMEOUT})
        try:
            return (await commit_together(link, [fresh, *queries]))[1:]
        except psycopg.errors.DivisionByZero:
            await link.rollback()
            raise await self._why_not(connection, me) from None

    async def _why_not(self, connection: AsyncConnection, me: UUID) -> Exception:
        """Which of the two statements that guard a claim stopped it."""
        row = (await connection.execute(sql.STANDING, {"me": me, "ttl": self._ttl})).first()
        if row is None:
            return WorkerGone(f"worker {me} was declared dead")
        return _Pruned() if row.fresh else WorkerNotFresh(f"worker {me} has no fresh heartbeat")

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
        late: dict[UUID, list[JobMessage]] = {}  # by the row that lacks their params
        for row in rows.mappings():
            message = left[row["id"]]
            if row["lacks_params"] and message.params is not None:
                late.setdefault(row["taken_by"] or row["id"], []).append(message)
            answer = explain_refusal(message, _view(row), me, token)
            answers[message.job_id.int] = (
                _claim(SimpleNamespace(**row), me, message.params) if isinstance(answer, AlreadyClaimedByUs) else answer
            )
        for message in await self._unkept(connection, late):
            answers[message.job_id.int] = TRY_AGAIN

    async def _unkept(self, connection: AsyncConnection, late: Mapping[UUID, Sequence[JobMessage]]) -> list[JobMessage]:
        """Keep the params of messages that came after their instance had ended; those whose row is gone meanwhile."""
        if not late:
            return []
        ids = sorted(late)
        values = {"ids": ids, "params": [late[row_id][0].params for row_id in ids]}
        kept = set((await connection.execute(sql.KEEP_PARAMS, values)).scalars())
        return [message for row_id in ids if row_id not in kept for message in late[row_id]]

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
        answer, earliest = answers.get(message.job_id.int, TRY_AGAIN), first[message.job_id.int]
        if earliest is message or not isinstance(answer, Claim):
            return answer
        same = earliest.message_id == message.message_id
        return Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED if same else Cause.DUPLICATE_PUBLISH)


def _registration(batch: Sequence[JobMessage]) -> Sequence[Query]:
    """The statement that makes the orchestrations of this batch's messages, if any of them may."""
    new: dict[int, JobMessage] = {}
    for message in batch:
        if message.creates and message.count is not None:
            new.setdefault(message.orchestration_id.int, message)
    rows = sorted(new.values(), key=lambda message: message.orchestration_id.int)
    values = {
        "ids": Uuids([row.orchestration_id for row in rows]),
        "names": Texts([row.job_name for row in rows]),
        "totals": Ints([row.count for row in rows]),
        "tags": Texts([json.dumps(dict(row.tags)) if row.tags else "{}" for row in rows]),
        "traceparents": Texts([row.traceparent for row in rows]),
    }
    return [(sql.ORCHESTRATIONS, values)] if rows else []


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


def _view(row: RowMapping) -> ClaimView:
    return ClaimView(
        exists=row["exists"],
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
        pruning=bool(row["pruning"]),
        taken_by=row["taken_by"],
        taken_status=Status(row["taken_status"]) if row["taken_status"] else None,
        taken_attempt=row["taken_attempt"],
    )
