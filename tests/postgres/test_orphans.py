"""Jobs whose orchestration was deleted by hand: they hold nothing else up, are named, and can be deleted."""

from __future__ import annotations

from uuid import UUID, uuid4

from daemon.job import Claim, Failed, Settled
from daemon.postgres.maintenance import Maintenance
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.queries import Queries
from tests.postgres.scene import BOOM, TTL, Scene, Worker, decided, messages_for


async def _orphaned(scene: Scene, orchestration: UUID) -> None:
    await scene.run("DELETE FROM orchestration WHERE id = :id", id=orchestration)


async def _claims(worker: Worker, orchestration: UUID, count: int) -> list[Claim]:
    answers = await worker.answers(*messages_for(orchestration, count))
    return [answer for answer in answers if isinstance(answer, Claim)]


async def test_orphans_that_are_due_do_not_hold_up_the_relay(scene: Scene) -> None:
    orphans = await scene.kick_off(600)
    await scene.run("UPDATE job SET publish_at = now() - interval '1 hour'")
    await _orphaned(scene, orphans.id)
    made = await scene.kick_off()
    await scene.run("UPDATE job SET publish_at = now() WHERE orchestration_id = :id", id=made.id)
    leased = await JobOutbox(scene.engine, 3600).lease(500)
    assert [one.message.job_id for one in leased] == [made.jobs[0].message.job_id]


async def test_a_lease_passes_over_jobs_that_are_locked(scene: Scene) -> None:
    made = await scene.kick_off(2)
    await scene.run("UPDATE job SET publish_at = now()")
    async with scene.rival() as rival:
        await rival.run("SELECT FROM job WHERE id = :id FOR NO KEY UPDATE", id=made.jobs[0].message.job_id)
        leased = await JobOutbox(scene.engine, 3600).lease(500)
    assert [one.message.job_id for one in leased] == [made.jobs[1].message.job_id]


async def test_an_orphan_does_not_disturb_the_settlements_beside_it(scene: Scene) -> None:
    """It ends with a place in no count; the others are numbered as if it were not there."""
    worker = await scene.worker()
    ids = sorted(uuid4() for _ in range(3))
    claims = [claim for one in ids for claim in await _claims(worker, one, 2)]
    await _orphaned(scene, ids[1])
    first = [decided(claim) for claim in claims if claim.index == 0]
    second = [decided(claim, Failed(BOOM, final=True)) for claim in claims if claim.index == 1]
    assert await worker.stored(first) == [Settled.STORED] * 3
    assert await worker.stored(second) == [Settled.STORED] * 3
    for whole in (ids[0], ids[2]):
        row = await scene.orchestration(whole)
        assert (row["completed"], row["errored"], row["finishes"], row["outcome"]) == (1, 1, 2, "Partial")
        numbers = await scene.run("SELECT finish_number FROM job WHERE orchestration_id = :id ORDER BY index", id=whole)
        assert [row["finish_number"] for row in numbers] == [1, 2]
    orphans = await scene.run(
        "SELECT status, worker_id FROM job WHERE orchestration_id = :id ORDER BY index", id=ids[1]
    )
    assert [tuple(row.values()) for row in orphans] == [("Completed", None), ("Errored", None)]


async def test_a_rescue_frees_an_orphan(scene: Scene) -> None:
    doomed, orchestration = await scene.worker(), uuid4()
    await _claims(doomed, orchestration, 1)
    await _orphaned(scene, orchestration)
    await scene.silence(doomed)
    (rescued,) = await (await scene.worker()).rescue(max_worker_losses=1)
    assert (rescued.freed, rescued.errored) == (0, 1)


async def test_verify_names_orphans_and_they_can_be_deleted_alone(scene: Scene) -> None:
    """One orchestration lies between two others, so that the walk from id to id passes all of them."""
    worker = await scene.worker()
    ids = sorted(uuid4() for _ in range(3))
    for one in ids:
        await _claims(worker, one, 2)
    assert await Queries(scene.engine, TTL).verify() == []
    await _orphaned(scene, ids[1])
    (found,) = await Queries(scene.engine, TTL).verify()
    assert (found.check, found.id) == ("orphans", str(ids[1]))
    assert "2 jobs" in found.text
    maintenance = Maintenance(scene.engine)
    assert [await maintenance.delete_orphans(one) for one in ids] == [0, 2, 0]
    assert await Queries(scene.engine, TTL).verify() == []
    assert await scene.value("count(*) FROM job") == 4
