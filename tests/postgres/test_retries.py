"""An operator's retry in slices, while messages come late, others cancel, and its author goes away."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from daemon.errors import RequestRefused
from daemon.job import Failed, TryAgain
from daemon.postgres import retries as module
from daemon.postgres.retries import Reopening, Retries
from tests.postgres.scene import BOOM, Scene, Worker, message_for, messages_for, pointer_to

PUBLISHED = "UPDATE orchestration SET event_published_at = now()"


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 2)


async def _failed(scene: Scene, worker: Worker, count: int) -> UUID:
    """A complete orchestration of which every instance failed, its event published."""
    messages = messages_for(uuid4(), count)
    for message in messages:
        await worker.settle(await worker.claim(message), Failed(BOOM, final=True))
    await scene.run(PUBLISHED)
    return messages[0].orchestration_id


async def test_a_late_message_whose_placeholder_a_retry_deletes_meanwhile_is_asked_again_and_not_acked(
    scene: Scene,
) -> None:
    """Its claim reads the placeholder, then waits for the retry's lock; when that commits there is no row any more."""
    worker, orchestration = await scene.worker(), uuid4()
    await worker.settle(await worker.claim(message_for(orchestration, 0, 2)), Failed(BOOM, final=True))
    await scene.terminations.cancel(orchestration)
    await scene.run(PUBLISHED)
    late = message_for(orchestration, 1, 2, params='{"n": 7}')
    async with scene.rival() as retry:
        await retry.run("SELECT id FROM job WHERE index = 1 FOR NO KEY UPDATE")
        answering = asyncio.create_task(worker.answer(late))
        await scene.until_blocked()
        await retry.run("DELETE FROM job WHERE index = 1")
        await retry.run(
            "UPDATE orchestration SET errored = errored - 1, completed_at = NULL, outcome = NULL, cancelled_at = NULL,"
            " event_published_at = NULL, generation = 2"
        )
        await retry.commit()
    assert isinstance(await answering, TryAgain)
    claim = await worker.claim(late)
    assert (claim.params, claim.attempt) == ('{"n": 7}', 1)


async def test_params_that_come_between_two_slices_are_run_and_not_left_errored(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    await worker.settle(await worker.claim(message_for(orchestration, 0, 6)), Failed(BOOM, final=True))
    await scene.terminations.cancel(orchestration)
    await scene.run(PUBLISHED)
    late = message_for(orchestration, 5, 6, params='{"n": 5}')

    class Interrupted(Retries):
        async def _slice(self, reopening: Reopening, after: int) -> int | None:
            came = await super()._slice(reopening, after)
            if after == 0:
                await worker.answer(late)
            return came

    assert await Interrupted(scene.engine).retry_failed(orchestration) == 6
    row = (await scene.run("SELECT status, CAST(params AS text) AS params, worker_id FROM job WHERE index = 5"))[0]
    assert (row["status"], row["params"]) == ("InProgress", '{"n": 5}')


async def test_an_orchestration_does_not_complete_while_it_is_being_reopened(scene: Scene) -> None:
    """What the first slice reopened ends at once: all is counted again, and half of it is still to be reopened."""
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 4)

    class Interrupted(Retries):
        async def _slice(self, reopening: Reopening, after: int) -> int | None:
            came = await super()._slice(reopening, after)
            if after == 0:
                for row in await scene.run("SELECT index FROM job WHERE status = 'InProgress'"):
                    again = await worker.claim(pointer_to(message_for(orchestration, row["index"], 4)))
                    await worker.settle(again, Failed(BOOM, final=True))
                whole = await scene.orchestration(orchestration)
                assert (whole["errored"], whole["completed_at"], whole["outcome"]) == (4, None, None)
            return came

    assert await Interrupted(scene.engine).retry_failed(orchestration) == 4
    counts = await scene.run("SELECT status, count(*) AS n FROM job GROUP BY 1 ORDER BY 1")
    assert [(row["status"], row["n"]) for row in counts] == [("Errored", 2), ("InProgress", 2)]


async def test_a_cancel_stops_a_retry_between_two_slices(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 6)

    class Interrupted(Retries):
        async def _slice(self, reopening: Reopening, after: int) -> int | None:
            came = await super()._slice(reopening, after)
            if after == 0:
                await scene.terminations.cancel(orchestration)
            return came

    await Interrupted(scene.engine).retry_failed(orchestration)
    whole = await scene.orchestration(orchestration)
    assert (whole["errored"], whole["outcome"], whole["generation"], whole["reopening_at"]) == (6, "Errored", 2, None)


async def test_a_cancel_right_after_the_beginning_of_a_retry_completes_it(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 2)
    await Retries(scene.engine)._begin(orchestration, [])
    assert (await scene.orchestration(orchestration))["completed_at"] is None
    await scene.terminations.cancel(orchestration)
    assert (await scene.orchestration(orchestration))["outcome"] == "Errored"


async def test_a_retry_whose_author_went_away_is_continued_by_the_workers(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 5)
    reopening = await Retries(scene.engine)._begin(orchestration, [])
    assert reopening is not None
    await Retries(scene.engine)._slice(reopening, 0)
    again = await worker.claim(pointer_to(message_for(orchestration, (await _open(scene))[0], 5)))
    await worker.settle(again, Failed(BOOM, final=True))
    await scene.retries.continue_abandoned()
    assert len(await _open(scene)) == 1, "somebody is at work on it"
    await scene.run("UPDATE orchestration SET reopening_at = now() - interval '1 minute'")
    await scene.retries.continue_abandoned()
    assert len(await _open(scene)) == 4, "what failed in the new generation is not reopened with the rest"
    assert (await scene.orchestration(orchestration))["reopening_at"] is None


async def _open(scene: Scene) -> list[int]:
    return [row["index"] for row in await scene.run("SELECT index FROM job WHERE status = 'InProgress' ORDER BY 1")]


async def test_what_is_being_pruned_is_not_retried(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 1)
    await scene.run("UPDATE orchestration SET pruning_at = now()")
    with pytest.raises(RequestRefused, match="being pruned"):
        await scene.retries.retry_failed(orchestration)
