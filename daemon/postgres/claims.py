"""One claim transaction for a batch of requests, then the reason of every one that was not granted.

Called by the store's claims. A claim takes free jobs only; whatever it did not get is explained by a row that it read,
or is left to be tried again. It must not judge another worker's liveness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import WorkerGone, WorkerNotFresh
from daemon.job import Cause, Claim, ClaimAnswer, JobMessage, Refusal, Refused, TryAgain
from daemon.postgres.arrays import Ints, Texts, Tokens, Uuids
from daemon.postgres.limited_claims import LimitedClaims
from daemon.postgres.pipeline import PinnedConnection, Query, Rows, run_transaction
from daemon.postgres.statements import claims as sql
from daemon.rules.claim_answer import AlreadyClaimedByUs, ClaimView, explain_refusal
from daemon.rules.limits import JobLimit

TRY_AGAIN = TryAgain()
LOCK_TIMEOUT = "1s"  # nothing holds a free job's row for longer than a batch takes
# Counted from a random number, for a UUID of its own would cost a tenth of all that a job costs here.
_tokens = count(uuid4().int >> 8)
_VIEW = tuple(column.name for column in fields(ClaimView))


@dataclass(slots=True, eq=False)
class ClaimRequest:
    """A message that asks for its job. `token` (a UUID as a number) marks what it gets: a repeated request recognises
    its own claim."""

    message: JobMessage
    token: int = field(default_factory=_tokens.__next__)


class _Pruned(Exception):
    """A claimed job's orchestration was deleted meanwhile; nothing was committed."""


class Claims:
    """Claims batches of messages for the worker that `me` names at the moment of writing."""

    def __init__(
        self, engine: AsyncEngine, me: Callable[[], UUID], worker_ttl: float, limits: Iterable[JobLimit] = ()
    ) -> None:
        self.pinned = PinnedConnection(engine)
        self._me = me
        self._ttl = worker_ttl
        self._limited = LimitedClaims(limits)

    async def write(self, requests: list[ClaimRequest]) -> list[ClaimAnswer]:
        """The answers to `requests`, in order. Raises WorkerNotFresh, WorkerGone, and what the database raises."""
        try:
            return await self._write(requests)
        except psycopg.errors.LockNotAvailable:
            return await self._write_unlocked(requests)
        except (_Pruned, psycopg.errors.UniqueViolation):
            # By now the claim sees what is pruned. Or another worker was making the same row: ON CONFLICT (id) decides
            # that, unless the row met the other unique index first: the winner has committed by now, so a second try
            # reads its row. Else two messages of this very batch want one index, and the batch is split.
            return await self._write(requests)

    async def _write_unlocked(self, requests: list[ClaimRequest]) -> list[ClaimAnswer]:
        """The same without the jobs whose row somebody else has locked: they would hold up all others."""
        ids = Uuids([request.message.job_id for request in requests])
        async with self.pinned.connection() as connection:
            (rows,) = await self._commit(connection, self._me(), [(sql.LOCKED_JOBS, {"ids": ids})])
        locked = {row.id.int for row in rows}
        free = [request for request in requests if request.message.job_id.int not in locked]
        answers = iter(await self._write(free) if free else [])
        return [TRY_AGAIN if request.message.job_id.int in locked else next(answers) for request in requests]

    async def _write(self, requests: list[ClaimRequest]) -> list[ClaimAnswer]:
        me = self._me()
        first: dict[int, ClaimRequest] = {}  # by the number in the id: hashing a UUID is a call of Python code
        for request in requests:
            first.setdefault(request.message.job_id.int, request)
        batch = [first[job_id] for job_id in sorted(first)]
        async with self.pinned.connection() as connection:
            rows = await self._claim(connection, batch, me)
            answers: dict[int, ClaimAnswer] = {
                row.id.int: _claim_of(row, me, first[row.id.int].message.params) for row in rows
            }
            if len(answers) == len(requests):
                return [answers[request.message.job_id.int] for request in requests]
            async with connection.begin():
                if left := [first[job_id] for job_id in sorted(first.keys() - answers.keys())]:
                    answers |= await _explain(connection, left, me)
                given = [_answer(request, first, answers) for request in requests]
                await _remember(connection, requests, given, me)
            return given

    async def _claim(self, connection: AsyncConnection, batch: Sequence[ClaimRequest], me: UUID) -> Rows:
        """Claim and commit; the rows of what was claimed."""
        limited = self._limited.job_names
        free = [request for request in batch if request.message.job_name not in limited] if limited else batch
        rows = await self._claim_free(connection, free, me) if free else []
        if len(rows) == len(batch):
            return rows
        # Whoever is left may have limits that its message does not tell: those of its row's job name, of its
        # orchestration, or a pause; or none, when a message gives the name of another job.
        claimed = {row.id for row in rows}
        left = [request for request in batch if request.message.job_id not in claimed]
        return [*rows, *await self._claim_limited(connection, left, me)]

    async def _claim_limited(self, connection: AsyncConnection, batch: Sequence[ClaimRequest], me: UUID) -> Rows:
        messages = [request.message for request in batch]
        ids, tokens = Uuids([message.job_id for message in messages]), Tokens([request.token for request in batch])
        register = _registrations(messages)
        queries = self._limited.queries(messages, ids, tokens, me)
        return (await self._commit(connection, me, [*register, *queries]))[-2]

    async def _claim_free(self, connection: AsyncConnection, batch: Sequence[ClaimRequest], me: UUID) -> Rows:
        messages = [request.message for request in batch]
        ids, tokens = Uuids([message.job_id for message in messages]), Tokens([request.token for request in batch])
        values = {
            "me": me,
            "ids": ids,
            "tokens": tokens,
            "orchestration_ids": Uuids([message.orchestration_id for message in messages]),
            "indexes": Ints([message.index for message in messages]),
            "counts": Ints([message.count for message in messages]),
            "names": Texts([message.job_name for message in messages]),
            "params": Texts([message.params for message in messages]),
            "message_ids": Texts([message.message_id for message in messages]),
            "limited": self._limited.names,
        }
        register = _registrations(messages)
        guard = (sql.REQUIRE_ORCHESTRATIONS, {"ids": ids, "tokens": tokens})
        return (await self._commit(connection, me, [*register, (sql.CLAIM_JOBS, values), guard]))[-2]

    async def _commit(self, connection: AsyncConnection, me: UUID, queries: Sequence[Query]) -> list[Rows]:
        """Run them in a transaction that this worker may have only with a fresh heartbeat; the rows of each."""
        guard = (sql.REQUIRE_LIVE_WORKER, {"me": me, "ttl": self._ttl, "lock_timeout": LOCK_TIMEOUT})
        try:
            return (await run_transaction(connection, [guard, *queries]))[1:]
        except psycopg.Error as error:
            match error.sqlstate:
                case sql.WORKER_GONE:
                    raise WorkerGone(f"worker {me} was declared dead") from None
                case sql.WORKER_NOT_FRESH:
                    raise WorkerNotFresh(f"worker {me} has no fresh heartbeat") from None
                case sql.ORCHESTRATION_PRUNED:
                    raise _Pruned from None
            raise


def _registrations(messages: Sequence[JobMessage]) -> list[Query]:
    new = _registration([message for message in messages if message.carries_params])
    return [(sql.REGISTER_ORCHESTRATIONS, new)] if new else []


def _registration(messages: Sequence[JobMessage]) -> dict[str, object] | None:
    """The parameters of REGISTER_ORCHESTRATIONS: what these messages may make. None when that is nothing."""
    new: dict[int, JobMessage] = {}
    for message in messages:
        if message.count is not None:
            new.setdefault(message.orchestration_id.int, message)
    rows = [new[number] for number in sorted(new)]
    if not rows:
        return None
    return {
        "ids": Uuids([row.orchestration_id for row in rows]),
        "names": Texts([row.job_name for row in rows]),
        "totals": Ints([row.count for row in rows]),
        "tags": Texts([json.dumps(dict(row.tags)) if row.tags else "{}" for row in rows]),
        "traceparents": Texts([row.traceparent for row in rows]),
    }


async def register(connection: AsyncConnection, messages: Sequence[JobMessage]) -> None:
    """Make the orchestrations that these messages name and that are not there yet."""
    if values := _registration(messages):
        await connection.execute(sql.REGISTER_ORCHESTRATIONS, values)


async def _explain(connection: AsyncConnection, requests: Sequence[ClaimRequest], me: UUID) -> dict[int, ClaimAnswer]:
    """The answers to requests that were not granted, by the number in their job's id."""
    by_id = {request.message.job_id: request for request in requests}
    messages = [request.message for request in requests]
    values = {
        "ids": list(by_id),
        "orchestration_ids": [message.orchestration_id for message in messages],
        "indexes": [message.index for message in messages],
        "carries_params": [message.carries_params for message in messages],
    }
    answers: dict[int, ClaimAnswer] = {}
    late: dict[UUID, list[JobMessage]] = {}  # by the row that lacks their params
    for row in (await connection.execute(sql.CLAIM_VIEWS, values)).mappings():
        request = by_id[row["id"]]
        message = request.message
        if row["lacks_params"] and message.params is not None:
            late.setdefault(row["taken_by"] or row["id"], []).append(message)
        answer = explain_refusal(message, ClaimView(**{name: row[name] for name in _VIEW}), me, UUID(int=request.token))
        answers[message.job_id.int] = (
            _claim_of(SimpleNamespace(**row), me, message.params) if isinstance(answer, AlreadyClaimedByUs) else answer
        )
    kept = await _fill_in_params(connection, late)
    for message in (message for row_id in late if row_id not in kept for message in late[row_id]):
        answers[message.job_id.int] = TRY_AGAIN
    return answers


async def _fill_in_params(connection: AsyncConnection, late: Mapping[UUID, Sequence[JobMessage]]) -> set[UUID]:
    """Keep the params of messages that came after their instance had ended; the rows that are still there."""
    if not late:
        return set()
    ids = sorted(late)
    values = {"ids": ids, "params": [late[row_id][0].params for row_id in ids]}
    return set((await connection.execute(sql.FILL_IN_PARAMS, values)).scalars())


async def _remember(
    connection: AsyncConnection, requests: Sequence[ClaimRequest], answers: Sequence[ClaimAnswer], me: UUID
) -> None:
    """Keep every delivery after the first in its job's history, those within this batch included."""
    again = [
        (request.message, answer.cause.value)
        for request, answer in zip(requests, answers, strict=True)
        if isinstance(answer, Refused) and answer.cause is not None
    ]
    if again:
        values = {
            "me": me,
            "job_ids": [message.job_id for message, _ in again],
            "causes": [cause for _, cause in again],
            "message_ids": [message.message_id for message, _ in again],
        }
        await connection.execute(sql.INSERT_REDELIVERIES, values)


def _answer(
    request: ClaimRequest, first: Mapping[int, ClaimRequest], answers: Mapping[int, ClaimAnswer]
) -> ClaimAnswer:
    """Of several requests for one job, the first one may have it."""
    number = request.message.job_id.int
    answer, earliest = answers.get(number, TRY_AGAIN), first[number]
    if earliest is request or not isinstance(answer, Claim):
        return answer
    same = earliest.message.message_id == request.message.message_id
    return Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED if same else Cause.DUPLICATE_PUBLISH)


def _claim_of(row: Any, me: UUID, own_params: str | None) -> Claim:
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
        since_first_start=row.since_first_start or 0.0,
    )
