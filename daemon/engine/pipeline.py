"""The straight line: decode, wait for a turn, claim, run, settle, ack. The one place where a delivery's way is decided.

Called by the consumer for every delivery. Every way out stores first and acks after; what can't be stored is nacked.
It must not log, count, compute a backoff or speak SQL.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

from daemon.delivery import Delivery
from daemon.engine.attempt import Attempt
from daemon.engine.memory import MemoryAdmission
from daemon.engine.turns import Turns
from daemon.errors import DecodeError, StoreUnavailable
from daemon.job import (
    Action,
    Claim,
    ClaimAnswer,
    Conflict,
    JobError,
    JobMessage,
    Kind,
    Refused,
    Result,
    Settled,
    Settlement,
    TryAgain,
    Unknown,
)
from daemon.observe import Observer
from daemon.registry import Handler, Registry
from daemon.rules.lifecycle import RetryPolicy, admit, settle
from daemon.rules.messages import decode, rejected_instance
from daemon.rules.storable import safe_str

CLAIM_TRIES = 5
NO_POLICY = RetryPolicy()

Decoder = Callable[[bytes, Mapping[str, str], str], JobMessage]


class Store(Protocol):
    """Where claims, outcomes and rejections are committed, each before the call returns."""

    def claim(self, message: JobMessage) -> Awaitable[ClaimAnswer]: ...

    def settle(self, claim: Claim, settlement: Settlement) -> Awaitable[Settled]: ...

    async def reject(self, delivery: Delivery, reason: str, text: str, instance: JobMessage | None) -> None: ...


class Runner(Protocol):
    """What runs a handler; it never raises, unless its loop is being closed."""

    async def run(self, claim: Claim, handler: Handler, attempt: Attempt) -> Result: ...


class Pipeline:
    """Takes deliveries to their end, any number at the same time; `places` says how many by one executor."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        registry: Registry,
        observer: Observer,
        unknown_job_grace: float,
        rng: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        decoder: Decoder = decode,
        places: Mapping[str, int] | None = None,
        memory: MemoryAdmission | None = None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._registry = registry
        self._observer = observer
        self._unknown_job_grace = unknown_job_grace
        self._rng = rng
        self._wall_clock = wall_clock
        self._decode = decoder
        self._turns = Turns(places or {}, memory)

    async def process(self, delivery: Delivery, attempt: Attempt) -> None:
        """Take one delivery to its end: what became of it is committed before it is acked."""
        try:
            message = self._decode(delivery.data, delivery.attributes, delivery.message_id)
        except DecodeError as error:
            await self._reject(delivery, error.reason, str(error), ends_instance=True)
            delivery.ack()
            return
        named = self._registry.find(message.job_name)
        if named is not None and self._turns.is_needed(named) and not await self._turns.wait(named, attempt):
            delivery.nack()
            return
        attempt.job_id = message.job_id  # from here on the database may say that we have claimed it
        match await self._claim(message):
            case Claim() as claim:
                attempt.claimed(claim)
                handler = self._registry.find(claim.job_name)  # the row's: a message may name another one
                result = await self._run(claim, handler, attempt, delivery)
                attempt.handler_done()
                await self._settle(claim, handler, attempt, result)
            case Refused() as refused:
                self._observer.refused(message, refused.why, refused.cause)
            case Conflict() as conflict:
                await self._reject(delivery, conflict.reason, conflict.text, ends_instance=conflict.ends_instance)
            case TryAgain():
                self._observer.claim_unresolved(message)
                delivery.nack()
                return
        delivery.ack()

    async def _claim(self, message: JobMessage) -> ClaimAnswer:
        try:
            for _ in range(CLAIM_TRIES):
                answer = await self._store.claim(message)
                if not isinstance(answer, TryAgain):
                    return answer
        except StoreUnavailable:
            return TryAgain()
        except Exception as error:  # a data error caused by this message alone
            return Conflict("NotStorable", safe_str(error), ends_instance=True)
        return TryAgain()

    async def _run(self, claim: Claim, handler: Handler | None, attempt: Attempt, delivery: Delivery) -> Result:
        refusal = admit(claim, NO_POLICY if handler is None else handler.policy)
        if refusal is not None:
            return refusal
        if handler is None:
            return Unknown(self._registry.names)
        queued = self._wall_clock() - delivery.publish_time if delivery.publish_time else 0.0
        self._observer.started(claim, max(queued, 0.0))
        return await self._runner.run(claim, handler, attempt)

    async def _settle(self, claim: Claim, handler: Handler | None, attempt: Attempt, result: Result) -> None:
        policy = handler.policy if handler is not None else NO_POLICY
        elapsed = time.monotonic() - attempt.claimed_at
        settlement = settle(claim, result, policy, self._unknown_job_grace, self._rng, elapsed)
        attempt.settling = True
        self._observer.finished(claim, settlement, elapsed)
        try:
            answer = await self._store.settle(claim, settlement)
        except StoreUnavailable:
            raise
        except Exception as error:  # a data error of this settlement alone: its result can't be stored
            settlement = _unstorable(settlement, error)
            answer = await self._store.settle(claim, settlement)
        self._observer.settled(claim, settlement, answer)

    async def _reject(self, delivery: Delivery, reason: str, text: str, *, ends_instance: bool) -> None:
        self._observer.rejected(reason, text)
        # A message that only disagrees with what is registered ends nothing: the right one is likely on its way.
        instance = rejected_instance(delivery.data, delivery.attributes) if ends_instance else None
        await self._store.reject(delivery, reason, text, instance)


def _unstorable(settlement: Settlement, error: Exception) -> Settlement:
    """The same settlement without what Postgres refused; a job whose result is gone is Errored, any other goes on."""
    if settlement.action is not Action.COMPLETE:
        kind = settlement.error.kind if settlement.error else Kind.RAISED
        return replace(settlement, error=JobError(kind, f"its text can't be stored: {type(error).__name__}"))
    failure = JobError(Kind.RESULT_NOT_STORABLE, f"Postgres refused the result: {type(error).__name__}")
    return replace(settlement, action=Action.FAIL, result=None, error=failure, counts_as_failure=True)
