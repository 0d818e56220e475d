"""The holes of settling (H1, H6, H12): the fence, the repetition of a settlement, and what stale attempts may write."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from daemon.job import (
    Action,
    Claim,
    Failed,
    Holdings,
    Interrupted,
    JobError,
    Kind,
    Progress,
    Returned,
    Settled,
    StopReason,
    UnfinishedJob,
)
from daemon.observe import Observer
from daemon.postgres.progress import ProgressBuffer
from daemon.postgres.settlements import parameters
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.rules.lifecycle import RetryPolicy, settle_closed
from tests.postgres.scene import BOOM, POLICY, Scene, Worker, decided, message_for, messages_for, pointer_to, writing

RESULTS = {
    "completes": Returned('{"images": 6}'),
    "fails": Failed(BOOM, final=True),
    "is retried": Failed(BOOM),
    "is interrupted": Interrupted(StopReason.DRAINING),
}
BY_ATTEMPT_ALONE = """
UPDATE job SET failures = failures + 1, worker_id = NULL, publish_at = now()
WHERE id = :id AND attempt = :attempt AND status = 'InProgress'
"""


async def _rescued(scene: Scene) -> tuple[Worker, Claim]:
    """A worker that was declared dead while it ran, and the claim that it believes in."""
    zombie, rescuer = await scene.worker(), await scene.worker()
    claim = await zombie.claim(message_for(uuid4()))
    await scene.silence(zombie)
    await rescuer.rescue()
    return zombie, claim


async def test_a_settlement_fenced_by_attempt_alone_would_apply_twice(scene: Scene) -> None:
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    for _ in range(2):
        await scene.run(BY_ATTEMPT_ALONE, id=claim.job_id, attempt=claim.attempt)
    assert (await scene.job(claim.job_id))["failures"] == 2


@pytest.mark.parametrize("how", RESULTS)
async def test_a_repeated_settlement_says_stored_and_applies_once(scene: Scene, how: str) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    settlement = decided(claim, RESULTS[how])
    assert await worker.store(settlement) is Settled.STORED
    row, whole = await scene.job(claim.job_id), await scene.orchestration(claim.orchestration_id)
    assert await worker.store(settlement) is Settled.STORED
    again = await scene.job(claim.job_id)
    changing = ("due", "due_in")
    assert {k: v for k, v in again.items() if k not in changing} == {k: v for k, v in row.items() if k not in changing}
    assert await scene.orchestration(claim.orchestration_id) == whole
    assert len(await scene.history(claim.job_id)) == (how != "completes")


@pytest.mark.parametrize("how", RESULTS)
async def test_a_settlement_repeated_after_the_next_attempt_began_leaves_that_alone(scene: Scene, how: str) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    first = decided(await worker.claim(message), Failed(BOOM))
    await worker.store(first)
    second = await worker.claim(pointer_to(message))
    assert await worker.store(first) is Settled.STORED
    row = await scene.job(message.job_id)
    assert (row["worker_id"], row["attempt"], row["failures"]) == (worker.id, 2, 1)
    assert await worker.settle(second, RESULTS[how]) is Settled.STORED


@pytest.mark.parametrize("how", ["completes", "fails", "is retried"])
async def test_a_stale_attempt_settles_nothing(scene: Scene, how: str) -> None:
    zombie, claim = await _rescued(scene)
    assert await zombie.settle(claim, RESULTS[how]) is Settled.STALE
    row, whole = await scene.job(claim.job_id), await scene.orchestration(claim.orchestration_id)
    assert (row["status"], row["failures"], row["losses"], row["result"]) == ("InProgress", 0, 1, None)
    assert (whole["completed"], whole["errored"]) == (0, 0)
    assert await scene.history(claim.job_id) == [(1, "WorkerLost")]


async def test_a_settlement_that_waited_for_a_rescue_writes_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    async with scene.rival() as rival:
        await rival.run("UPDATE job SET worker_id = NULL, losses = 1, publish_at = now()")
        settling = asyncio.create_task(worker.settle(claim))
        await scene.until_blocked()
        await rival.commit()
    assert await settling is Settled.STALE
    assert (await scene.job(claim.job_id))["status"] == "InProgress"


async def test_a_stale_attempt_writes_no_progress_no_note_and_no_checkpoint(scene: Scene) -> None:
    _zombie, claim = await _rescued(scene)
    buffer = ProgressBuffer(scene.engine, Observer())
    async with writing(buffer):
        buffer.progress(claim, Progress(3, 6, "Creating image 3 of 6"))
        buffer.note(claim, "Analysing your brand")
        await buffer.flush()
        assert await buffer.save(claim, '{"at": 3}') is False
    row = await scene.job(claim.job_id)
    assert (row["progress_message"], row["checkpoint"]) == (None, None)
    assert await scene.value("count(*) FROM progress_note") == 0


async def test_what_a_running_attempt_says_is_written_under_its_fence(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    buffer = ProgressBuffer(scene.engine, Observer())
    for done in range(1, 4):
        buffer.progress(claim, Progress(done, 6, f"Creating image {done} of 6"))
        buffer.note(claim, f"note {done}")
    async with writing(buffer):
        await buffer.flush()
    row = await scene.job(claim.job_id)
    assert (row["progress_current"], row["progress_message"]) == (3, "Creating image 3 of 6")
    notes = await scene.run("SELECT text FROM progress_note ORDER BY id")
    assert [note["text"] for note in notes] == ["note 1", "note 2", "note 3"]


async def _two_attempts(scene: Scene) -> tuple[Claim, Claim]:
    """A stale claim of a job and the one that runs, both of them this worker's."""
    worker, message = await scene.worker(), message_for(uuid4())
    stale = await worker.claim(message)
    await worker.settle(stale, Failed(BOOM))
    return stale, await worker.claim(pointer_to(message))


async def test_progress_of_two_attempts_in_one_batch_is_that_of_the_running_one(scene: Scene) -> None:
    stale, running = await _two_attempts(scene)
    for order in [(running, stale), (stale, running)]:
        buffer = ProgressBuffer(scene.engine, Observer())
        for claim in order:
            buffer.progress(claim, Progress(claim.attempt, None, f"attempt {claim.attempt}"))
        async with writing(buffer):
            await buffer.flush()
        assert (await scene.job(running.job_id))["progress_message"] == "attempt 2"


async def test_checkpoints_of_two_attempts_in_one_batch_are_told_apart(scene: Scene) -> None:
    stale, running = await _two_attempts(scene)
    for order in [(running, stale), (stale, running)]:
        buffer = ProgressBuffer(scene.engine, Observer())
        saves = [asyncio.ensure_future(buffer.save(claim, f'"{claim.attempt}"')) for claim in order]
        await asyncio.sleep(0)  # both wait before the lane begins: one batch
        lane = asyncio.create_task(buffer.run())
        assert await asyncio.gather(*saves) == [claim is running for claim in order]
        lane.cancel()
        assert (await scene.job(running.job_id))["checkpoint"] == "2"


async def test_the_newest_checkpoint_of_a_batch_is_kept(scene: Scene) -> None:
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    buffer = ProgressBuffer(scene.engine, Observer())
    saves = [asyncio.ensure_future(buffer.save(claim, str(cursor))) for cursor in range(5)]
    await asyncio.sleep(0)
    lane = asyncio.create_task(buffer.run())
    assert await asyncio.gather(*saves) == [True] * 5
    lane.cancel()
    assert (await scene.job(claim.job_id))["checkpoint"] == 4


async def test_two_attempts_of_a_job_settled_in_one_batch_end_as_one_after_the_other(scene: Scene) -> None:
    stale, running = await _two_attempts(scene)
    worker = Worker(running.worker_id, scene.engine)
    both = [decided(running), decided(stale, Failed(BOOM))]
    assert await worker.stored(both) == [Settled.STORED, Settled.STORED]
    row = await scene.job(running.job_id)
    assert (row["status"], row["attempt"], row["failures"]) == ("Completed", 2, 1)


def test_one_job_twice_in_one_statement_is_a_programming_error() -> None:
    settlement = settle_closed(UnfinishedJob(uuid4(), None, 1), BOOM)
    with pytest.raises(AssertionError, match="settled twice"):
        parameters([settlement, replace(settlement, attempt=2)])


async def test_a_claim_whose_answer_was_lost_is_found_by_comparison_and_given_back(scene: Scene) -> None:
    """H1: the database says that a living worker holds the job, and that worker knows nothing of it."""
    from daemon.postgres.database import sync_engine

    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    registration = WorkerRegistration(sync_engine(scene.url), "host", "", 1, 12.5)
    held = await asyncio.to_thread(registration.claimed_jobs, worker.id)
    assert held == Holdings(frozenset({(claim.job_id, 1)}))
    await asyncio.to_thread(registration.release, worker.id, [(claim.job_id, 1)])
    row = await scene.job(claim.job_id)
    assert (row["worker_id"], row["losses"], row["failures"], row["due"]) == (None, 0, 0, True)
    assert await scene.history(claim.job_id) == [(1, "Interrupted")]
    await worker.settle(await worker.claim(pointer_to(message_for(claim.orchestration_id))))
    await asyncio.to_thread(registration.release, worker.id, [(claim.job_id, 1)])  # too late: the fence stands
    assert (await scene.job(claim.job_id))["status"] == "Completed"
    await asyncio.to_thread(registration.close)


async def test_finish_numbers_have_no_gaps_and_follow_the_commits(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 12)
    claims = [claim for claim in await worker.answers(*messages) if isinstance(claim, Claim)]
    for batch in (claims[8:], claims[:1], claims[1:8]):
        await worker.stored([decided(claim) for claim in batch])
        numbers = [(await scene.job(claim.job_id))["finish_number"] for claim in batch]
        assert max(numbers) == (await scene.orchestration(batch[0].orchestration_id))["finishes"]
    rows = await scene.run("SELECT finish_number FROM job ORDER BY 1")
    assert [row["finish_number"] for row in rows] == list(range(1, 13))


async def test_counting_is_right_when_the_settlement_waited_for_another_one(scene: Scene) -> None:
    one, two = await scene.worker(), await scene.worker()
    messages = messages_for(uuid4(), 2)
    claims = [await one.claim(messages[0]), await two.claim(messages[1])]
    async with scene.rival() as rival:
        await rival.run("SELECT 1 FROM orchestration FOR NO KEY UPDATE")
        both = [
            asyncio.create_task(one.settle(claims[0])),
            asyncio.create_task(two.settle(claims[1], RESULTS["fails"])),
        ]
        await scene.until_blocked(2)
    await asyncio.gather(*both)
    whole = await scene.orchestration(messages[0].orchestration_id)
    assert (whole["completed"], whole["errored"], whole["outcome"]) == (1, 1, "Partial")


@pytest.mark.parametrize(("loses", "action"), [(1, Action.RETRY), (2, Action.FAIL)])
async def test_the_handlers_budget_is_spent_by_failures_only(scene: Scene, loses: int, action: Action) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    for attempt in range(loses):
        claim = await worker.claim(message if attempt == 0 else pointer_to(message))
        settlement = decided(claim, Failed(JobError(Kind.RAISED, "boom")), RetryPolicy(2, POLICY.backoff))
        await worker.settle(claim, Failed(BOOM))
    assert settlement.action is action
