"""The straight line: what each kind of message becomes, and what it never becomes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from daemon.engine.attempt import Attempt
from daemon.engine.pipeline import CLAIM_TRIES, Pipeline
from daemon.errors import StoreUnavailable
from daemon.job import (
    Action,
    Cause,
    Claim,
    ClaimAnswer,
    Conflict,
    Failed,
    JobError,
    JobMessage,
    Kind,
    Refusal,
    Refused,
    Result,
    Returned,
    Settled,
    Settlement,
    StopReason,
    TryAgain,
)
from daemon.registry import Handler, Registry
from tests.fakes.delivery import CLAIM, FakeDelivery, a_claim, a_handler
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.attempts import a_runner


@dataclass
class Scripted:
    """A store that answers as told, and a runner that gives the result it was told."""

    answers: list[ClaimAnswer | Exception] = field(default_factory=lambda: [CLAIM])
    result: Result = field(default_factory=lambda: Returned("1"))
    refuses: int = 0
    stored: list[Settlement] = field(default_factory=list)
    rejected: list[tuple[str, JobMessage | None]] = field(default_factory=list)
    ran: int = 0

    async def claim(self, message: JobMessage) -> ClaimAnswer:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def settle(self, claim: Claim, settlement: Settlement) -> Settled:
        self.stored.append(settlement)
        if len(self.stored) <= self.refuses:
            raise ValueError("Postgres refuses it")
        return Settled.STORED

    async def reject(self, delivery: FakeDelivery, reason: str, text: str, instance: JobMessage | None) -> None:
        self.rejected.append((reason, instance))

    async def run(self, claim: Claim, handler: Handler, attempt: Attempt) -> Result:
        self.ran += 1
        return self.result


def paint(params: dict[str, object]) -> None:
    """A handler that is never called here."""


async def _process(script: Scripted, delivery: FakeDelivery, heard: Listening | None = None) -> FakeDelivery:
    registry = Registry({"paint": a_handler(paint, max_attempts=2)})
    line = Pipeline(script, script, registry, heard or Listening(), 300, lambda: 0.5, lambda: 110.0)
    await line.process(delivery, Attempt())
    return delivery


async def test_a_job_that_succeeds_is_stored_then_acked() -> None:
    script, heard = Scripted(), Listening()
    delivery = await _process(script, FakeDelivery(publish_time=100.0), heard)
    assert (delivery.reply, [one.action for one in script.stored]) == ("ack", [Action.COMPLETE])
    assert heard.all("started") == [(CLAIM, 10.0)]
    assert [name for name, _ in heard.heard] == ["started", "finished", "settled"]


async def test_a_handler_that_cancels_its_own_task_has_failed_and_cannot_do_so_for_ever_at_no_cost() -> None:
    async def suicidal(params: dict[str, object]) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.cancel()
        await asyncio.Event().wait()

    script, registry = Scripted(), Registry({"paint": a_handler(suicidal, max_attempts=2)})
    line = Pipeline(script, a_runner(), registry, Listening(), 300, lambda: 0.5)
    delivery = FakeDelivery()
    processing = asyncio.create_task(line.process(delivery, Attempt()))
    await processing
    assert (delivery.reply, processing.cancelling()) == ("ack", 0)
    assert [(one.action, one.counts_as_failure) for one in script.stored] == [(Action.RETRY, True)]


async def test_a_cancellation_that_was_asked_for_passes_through_the_line() -> None:
    async def forever(params: dict[str, object]) -> None:
        await asyncio.Event().wait()

    script, registry, attempt = Scripted(), Registry({"paint": a_handler(forever)}), Attempt()
    line = Pipeline(script, a_runner(), registry, Listening(), 300, lambda: 0.5)
    processing = asyncio.create_task(line.process(FakeDelivery(), attempt))
    await until(lambda: attempt.is_running)
    attempt.stop(StopReason.DRAINING)
    processing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await processing
    assert script.stored == []


@pytest.mark.parametrize("why", Refusal)
async def test_a_refused_message_is_acked_and_runs_nothing(why: Refusal) -> None:
    script, heard = Scripted([Refused(why, Cause.LEASE_EXPIRED)]), Listening()
    delivery = await _process(script, FakeDelivery(), heard)
    assert (delivery.reply, script.ran, script.stored) == ("ack", 0, [])
    assert [arguments[1:] for arguments in heard.all("refused")] == [(why, Cause.LEASE_EXPIRED)]


async def test_an_undecided_claim_is_asked_for_again_and_never_acked() -> None:
    script, heard = Scripted([TryAgain()]), Listening()
    delivery = await _process(script, FakeDelivery(), heard)
    assert (delivery.reply, script.ran) == ("nack", 0)
    assert len(heard.all("claim_unresolved")) == 1


async def test_a_claim_that_is_decided_at_last_runs() -> None:
    script = Scripted([*[TryAgain()] * (CLAIM_TRIES - 1), CLAIM])
    assert (await _process(script, FakeDelivery())).reply == "ack"
    assert script.ran == 1


async def test_a_message_that_contradicts_what_is_stored_is_kept_and_ends_no_instance() -> None:
    script = Scripted([Conflict("CountMismatch", "no")])
    ids = {"orchestration_id": str(CLAIM.orchestration_id), "index": "1", "count": "2"}
    delivery = await _process(script, FakeDelivery(attributes={"job_name": "paint", **ids}))
    assert (script.rejected, delivery.reply) == ([("CountMismatch", None)], "ack")


async def test_a_message_that_nothing_can_store_is_kept_and_ends_its_instance() -> None:
    script = Scripted([ValueError("its own fault")])
    ids = {"orchestration_id": str(CLAIM.orchestration_id), "index": "1", "count": "2"}
    delivery = await _process(script, FakeDelivery(attributes={"job_name": "paint", **ids}))
    [(reason, instance)] = script.rejected
    assert reason == "NotStorable"
    assert instance is not None
    assert (instance.orchestration_id, instance.index, delivery.reply) == (CLAIM.orchestration_id, 1, "ack")


async def test_a_message_that_the_database_refuses_for_its_own_reasons_goes_back() -> None:
    script = Scripted([StoreUnavailable("permission denied for table job")])
    delivery = await _process(script, FakeDelivery())
    assert (delivery.reply, script.rejected, script.ran) == ("nack", [], 0)


@pytest.mark.parametrize(("data", "reason"), [(b"[]", "ParamsNotObject"), (b"{", "InvalidJson")])
async def test_a_message_that_does_not_decode_is_kept_and_acked(data: bytes, reason: str) -> None:
    script = Scripted()
    delivery = await _process(script, FakeDelivery(data))
    assert (delivery.reply, script.rejected, script.stored) == ("ack", [(reason, None)], [])


async def test_a_job_without_a_handler_here_is_tried_again_and_named() -> None:
    script = Scripted([a_claim(job_name="scan")])
    delivery = await _process(script, FakeDelivery())
    [one] = script.stored
    assert (delivery.reply, one.action, one.counts_as_failure) == ("ack", Action.RETRY, False)
    assert one.error is not None
    assert "'scan'" in one.error.message
    assert "paint" in one.error.message


async def test_a_passed_deadline_keeps_the_handler_from_running() -> None:
    script = Scripted([a_claim(deadline_in=-1.0)])
    await _process(script, FakeDelivery())
    assert script.ran == 0
    assert script.stored[0].error is not None
    assert script.stored[0].error.kind is Kind.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("failures", "action"), [(0, Action.RETRY), (1, Action.FAIL)])
async def test_a_failure_follows_the_policy_of_its_handler(failures: int, action: Action) -> None:
    script = Scripted([a_claim(failures=failures)], Failed(JobError(Kind.RAISED, "boom")))
    assert (await _process(script, FakeDelivery())).reply == "ack"
    assert script.stored[0].action is action


async def test_a_result_that_postgres_refuses_ends_the_job_instead_of_hanging_it() -> None:
    script = Scripted(refuses=1)
    delivery = await _process(script, FakeDelivery())
    first, second = script.stored
    expected = replace(first, action=Action.FAIL, result=None, error=second.error, counts_as_failure=True)
    assert (delivery.reply, second) == ("ack", expected)
    assert second.error is not None
    assert second.error.kind is Kind.RESULT_NOT_STORABLE


async def test_a_settlement_that_can_never_be_stored_is_not_acked() -> None:
    delivery = FakeDelivery()
    with pytest.raises(ValueError, match="Postgres refuses it"):
        await _process(Scripted(refuses=2), delivery)
    assert delivery.reply is None, "the consumer gives it back, and the next comparison frees the job"


async def test_the_handler_is_that_of_the_row_whatever_name_its_message_gives() -> None:
    script = Scripted([a_claim(job_name="paint")])
    delivery = await _process(script, FakeDelivery(attributes={"job_name": "scan"}))
    assert (delivery.reply, script.ran) == ("ack", 1)
