"""When a job's first attempt began, by the database's clock: what its overall timeout counts from."""

from __future__ import annotations

from uuid import uuid4

from daemon.job import Action, Claim, Failed, Settlement, Status
from daemon.postgres.retries import Retries
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.retry import Backoff
from tests.postgres.scene import BOOM, Scene, message_for, pointer_to

AT_ONCE = RetryPolicy(9, Backoff(initial=0, maximum=0, jitter=False))


async def _as_if_begun_earlier(scene: Scene) -> None:
    """Everything about the one job of a scene began an hour before."""
    await scene.run("UPDATE job SET first_started_at = first_started_at - interval '1 hour'")


async def test_every_later_attempt_knows_how_long_ago_the_first_one_began(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    first = await worker.claim(message)
    assert first.since_first_start == 0
    await _as_if_begun_earlier(scene)
    await worker.settle(first, Failed(BOOM), AT_ONCE)
    second = await worker.claim(pointer_to(message))
    assert 3600 <= second.since_first_start < 3660
    await worker.settle(second, Failed(BOOM), AT_ONCE)
    assert 3600 <= (await worker.claim(pointer_to(message))).since_first_start < 3660


async def test_the_time_in_a_backlog_does_not_count(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await worker.settle(await worker.claim(message), Failed(BOOM), AT_ONCE)
    await scene.run("UPDATE job SET created_at = created_at - interval '1 day', first_started_at = NULL")
    claim = await worker.claim(pointer_to(message))
    assert claim.age > 86_000
    assert claim.since_first_start == 0


async def test_an_operators_retry_begins_the_time_anew(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    first = await worker.claim(message)
    await worker.store(
        Settlement(first.job_id, first.worker_id, 1, Action.FAIL, error=BOOM, counts_as_failure=True),
    )
    await scene.run("UPDATE orchestration SET event_published_at = now()")
    await _as_if_begun_earlier(scene)
    assert (await scene.job(message.job_id))["status"] == Status.ERRORED
    assert await Retries(scene.engine).retry_failed(message.orchestration_id) == 1
    again = await worker.answer(pointer_to(message))
    assert isinstance(again, Claim)
    assert again.since_first_start == 0
