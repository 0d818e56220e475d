"""Rows and the frozen values they become agree: columns, names, words and their limits."""

from __future__ import annotations

from dataclasses import fields
from uuid import uuid4

import pytest

from daemon.job import Action, Cause, Claim, Failed, Kind, Status
from daemon.orchestration import CompletedOrchestration, JobOutcome, OrchestrationState, Outcome
from daemon.postgres.settlements import parameters
from daemon.postgres.statements import claims, orchestrations, outbox_events, retries, settlements
from daemon.rules.claim_answer import ClaimView
from tests.postgres.scene import BOOM, Scene, decided, message_for, messages_for, pointer_to


def _fields(kind: type) -> set[str]:
    return {one.name for one in fields(kind)}


async def test_the_state_of_an_orchestration_is_its_row(scene: Scene) -> None:
    made = await scene.kick_off(2, tags={"customer": "7"}, deadline_seconds=60)
    async with scene.engine.connect() as connection:
        row = (await connection.execute(orchestrations.STATE, {"id": made.id})).mappings().one()
    assert set(row) == _fields(OrchestrationState)
    state = await scene.orchestrations.state(made.id)
    assert (state.total, state.running, state.tags, state.finished) == (2, 0, {"customer": "7"}, 0)
    worker = await scene.worker()
    await worker.claim(made.jobs[0].message)
    assert (await scene.orchestrations.state(made.id)).running == 1


async def test_an_outcome_is_its_row_with_its_own_params(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 3)
    for message in messages:
        running = await worker.claim(message)
        await worker.settle(running, Failed(BOOM, final=True) if message.index == 1 else None)
    values = {"id": messages[0].orchestration_id, "after": 0, "status": None, "limit": 9}
    async with scene.engine.connect() as connection:
        row = (await connection.execute(orchestrations.OUTCOMES, values)).mappings().first()
    assert row is not None
    assert {"id" if name == "job_id" else name for name in _fields(JobOutcome)} == set(row)
    every = await scene.orchestrations.outcomes(messages[0].orchestration_id)
    assert [(one.index, one.finish_number, one.status) for one in every] == [
        (0, 1, Status.COMPLETED),
        (1, 2, Status.ERRORED),
        (2, 3, Status.COMPLETED),
    ]
    assert (every[0].result, every[0].params, every[1].error) == ('"ok"', '{"n": 1}', BOOM)
    failed = await scene.orchestrations.outcomes(messages[0].orchestration_id, status=Status.ERRORED)
    assert [one.index for one in failed] == [1]
    page = await scene.orchestrations.outcomes(messages[0].orchestration_id, after=1, limit=1)
    assert [one.finish_number for one in page] == [2]


async def test_an_event_is_its_row(scene: Scene) -> None:
    await scene.kick_off(0)
    async with scene.engine.begin() as connection:
        row = (await connection.execute(outbox_events.LEASE, {"limit": 1, "publishing": 30.0})).mappings().one()
    assert set(row) == _fields(CompletedOrchestration) | {"event_publish_at"}


async def test_the_reasons_hold_all_that_the_rules_look_at(scene: Scene) -> None:
    values = {"ids": [uuid4()], "orchestration_ids": [uuid4()], "indexes": [0], "carries_params": [True]}
    async with scene.engine.connect() as connection:
        row = (await connection.execute(claims.CLAIM_VIEWS, values)).mappings().one()
    assert _fields(ClaimView) <= set(row)


async def test_a_claim_says_the_same_however_it_was_given(scene: Scene) -> None:
    """Born by its message, taken from a row, and found to be ours after a lost answer."""
    worker, message = await scene.worker(), message_for(uuid4(), tags={"a": "b"}, traceparent="00-1-2-01")
    born = await worker.claim(message)
    assert (born.params, born.tags, born.traceparent, born.cause) == (message.params, {"a": "b"}, "00-1-2-01", None)
    await scene.run("UPDATE job SET checkpoint = '{\"at\": 3}'")
    await worker.settle(born, Failed(BOOM))
    taken = await worker.claim(pointer_to(message))
    same = {field.name for field in fields(Claim)} - {
        "attempt",
        "failures",
        "age",
        "since_first_start",
        "cause",
        "checkpoint",
    }
    assert {name: getattr(taken, name) for name in same} == {name: getattr(born, name) for name in same}
    assert (taken.attempt, taken.failures, taken.checkpoint, taken.cause) == (2, 1, '{"at": 3}', Cause.RETRY)


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_kind_of_error_is_stored_and_read_back(scene: Scene, kind: Kind) -> None:
    worker = await scene.worker()
    running = await worker.claim(message_for(uuid4()))
    failed = Failed(type(BOOM)(kind, "why", "Traceback"), final=True)
    await worker.settle(running, failed)
    (outcome,) = await scene.orchestrations.outcomes(running.orchestration_id)
    assert outcome.error == failed.error


def test_the_words_of_the_statements_are_the_words_of_the_code() -> None:
    text = settlements.SETTLE.text
    assert all(f"'{action}'" in text for action in (Action.COMPLETE, Action.FAIL, Action.RETRY, Action.INTERRUPT))
    assert all(f"'{status}'" in text for status in Status)
    assert all(f"'{outcome}'" in text for outcome in Outcome)
    assert f"'{Cause.OPERATOR}'" in retries.REOPEN_JOBS.text


async def test_every_array_of_a_batch_has_its_parameter(scene: Scene) -> None:
    worker = await scene.worker()
    running = await worker.claim(message_for(uuid4()))
    assert set(parameters([decided(running)])) == set(settlements.SETTLE.compile().params)
