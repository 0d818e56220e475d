"""A foreign judge: due-work-harness kills Headcount's workers after every commit and after every call that leaves them.

The kit runs each handoff normally to learn its outcome, and then again: with all messages lost, killed after each
commit, killed after each external call, with each publish refused, with the reply to each commit lost. Whatever the
rest of the fleet then does must lead to the same outcome; no exception from that is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from due_work_harness import (
    CallableDelivery,
    ExternalCall,
    HandoffHistory,
    HistoriesDiverged,
    assert_crash_at_every_commit_converges,
)
from due_work_harness.host import hosted

from daemon.client import Client
from daemon.context import JobContext
from daemon.job import Claim, RescuedWorker
from daemon.postgres.rescue import Rescue
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.puller import Puller
from daemon.registry import Registry, handler_of, job
from daemon.rules.messages import decode
from daemon.rules.retry import Backoff
from tests.judge.deployment import Deployment, pulled_at_once, recovered, run, started_worker
from tests.judge.faults import HEADCOUNT

# A dead worker's connections are left as they are; and a pull that waits for nothing needs a flag that is deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated"),
    pytest.mark.timeout(600),
]
AT_ONCE = Backoff(initial=0, maximum=0, jitter=False)


@dataclass
class Recipient:
    """A service outside, which knows a repeated request by its key."""

    known: dict[str, str] = field(default_factory=dict)

    async def send(self, key: str, text: str) -> None:
        self.known.setdefault(key, text)


RECIPIENT = Recipient()


@job("notify", max_attempts=3, retry=AT_ONCE)
async def notify(params: dict[str, int], ctx: JobContext) -> dict[str, int]:
    """Calls the service, leaves a checkpoint and says so."""
    await RECIPIENT.send(ctx.idempotency_key, f"number {params['n']}")
    await ctx.save({"sent": params["n"]})
    ctx.note("sent")
    ctx.progress(1, 1)
    return {"sent": params["n"]}


@job("stumble", max_attempts=3, retry=AT_ONCE)
async def stumble(params: dict[str, int], ctx: JobContext) -> str:
    """Fails once, whichever attempt and worker that is."""
    if ctx.failures == 0:
        raise ValueError("the first try fails")
    await RECIPIENT.send(ctx.idempotency_key, "after a failure")
    return "at the second try"


REGISTRY = Registry({"notify": handler_of(notify), "stumble": handler_of(stumble)})
CALLS = (ExternalCall(RECIPIENT, "send"), ExternalCall(Publisher, "publish"), ExternalCall(Puller, "acknowledge"))


@pytest.fixture
def deployment(database_url: str, pubsub: str) -> Iterator[Deployment]:
    """Headcount on a database of its own, judged with its own host."""
    with hosted(HEADCOUNT):
        yield Deployment(database_url, REGISTRY)


def delivery(deployment: Deployment) -> CallableDelivery:
    """What was published is lost by nobody pulling it and no publish having happened; the fleet is what recovers."""

    def recover() -> None:
        run(recovered(deployment))

    return CallableDelivery(name="headcount", recover=recover, lose=lambda: run(deployment.lose_messages()))


def kick_off(deployment: Deployment, name: str, count: int) -> Callable[[], UUID]:
    """Arranges an orchestration whose messages have been published, on topics of its own."""

    async def kicked_off() -> UUID:
        async with Client(deployment.settings) as client:
            return (await client.kick_off(name, [{"n": n} for n in range(count)])).id

    def arrange() -> UUID:
        deployment.begin()
        made: UUID = run(kicked_off())
        return made

    return arrange


def observe(deployment: Deployment) -> Callable[[UUID], object]:
    """Everything a user can see of an orchestration, and what the service outside knows of it."""

    def seen(orchestration_id: UUID) -> object:
        run(deployment.see_events())
        jobs = deployment.rows(
            "SELECT id, index, status, result::text, failures, worker_id IS NULL FROM job WHERE orchestration_id = %s "
            "ORDER BY index",
            orchestration_id,
        )
        counts = deployment.rows(
            "SELECT total, completed, errored, outcome, event_published_at IS NOT NULL FROM orchestration "
            "WHERE id = %s",
            orchestration_id,
        )
        notes = deployment.rows(
            "SELECT DISTINCT index, text FROM progress_note n JOIN job j ON j.id = n.job_id "
            "WHERE n.orchestration_id = %s ORDER BY index",
            orchestration_id,
        )
        sent = [RECIPIENT.known.get(str(row[0])) for row in jobs]
        events = len(deployment.events.get(str(orchestration_id), ()))
        return {"jobs": [row[1:] for row in jobs], "counts": counts, "notes": notes, "sent": sent, "events": events}

    return seen


def worked_off(deployment: Deployment, messages: int) -> Callable[[UUID], None]:
    """A worker takes this many messages to their end, then publishes what is due."""

    async def work() -> None:
        async with started_worker(deployment) as worker:
            assert await worker.work(messages) == messages
            await worker.job_relay.publish_due()
            await worker.event_relay.publish_due()

    def transition(_orchestration_id: UUID) -> None:
        run(work())

    return transition


def judged(deployment: Deployment, history: HandoffHistory[Any, Any]) -> None:
    """Every history ends as normal operation does."""
    assert_crash_at_every_commit_converges(delivery(deployment), history)


@pytest.mark.long
def test_a_worker_killed_at_any_commit_or_call_loses_and_repeats_nothing(deployment: Deployment) -> None:
    history: HandoffHistory[UUID, object] = HandoffHistory(
        name="two jobs, from their messages to the event",
        arrange=kick_off(deployment, "notify", 2),
        transition=worked_off(deployment, 2),
        observe=observe(deployment),
        external_calls=CALLS,
    )
    judged(deployment, history)


def test_a_retry_survives_its_worker_at_any_commit_or_call(deployment: Deployment) -> None:
    history: HandoffHistory[UUID, object] = HandoffHistory(
        name="an attempt that fails, and its retry's message",
        arrange=kick_off(deployment, "stumble", 1),
        transition=worked_off(deployment, 1),
        observe=observe(deployment),
        external_calls=CALLS[1:],
    )
    judged(deployment, history)


def test_a_producer_killed_at_any_commit_or_call_has_kicked_off_once(deployment: Deployment) -> None:
    def arrange() -> UUID:
        deployment.begin()
        return uuid4()

    async def kicked_off(key: UUID) -> None:
        async with Client(deployment.settings) as client:
            await client.kick_off("notify", [{"n": 0}, {"n": 1}], idempotency_key=str(key))

    def transition(key: UUID) -> None:
        run(kicked_off(key))

    def seen(key: UUID) -> object:
        made = deployment.rows("SELECT id FROM orchestration WHERE idempotency_key = %s", str(key))
        return [observe(deployment)(row[0]) for row in made]

    history: HandoffHistory[UUID, object] = HandoffHistory(
        name="a kick-off", arrange=arrange, transition=transition, observe=seen, external_calls=CALLS[1:2]
    )
    judged(deployment, history)


def test_a_rescuer_killed_at_any_commit_leaves_the_rescue_to_the_next(deployment: Deployment) -> None:
    def arrange() -> UUID:
        orchestration_id = kick_off(deployment, "notify", 2)()
        run(claimed_and_gone(deployment))
        return orchestration_id

    async def rescue() -> None:
        async with started_worker(deployment) as worker:
            await worker.rescuer.round()
            await worker.job_relay.publish_due()

    def transition(_orchestration_id: UUID) -> None:
        run(rescue())

    history: HandoffHistory[UUID, object] = HandoffHistory(
        name="the rescue of two jobs",
        arrange=arrange,
        transition=transition,
        observe=observe(deployment),
        external_calls=CALLS[1:2],
    )
    judged(deployment, history)


def test_a_fleet_that_rescues_nobody_is_found_out(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what the judge would say if the jobs of dead workers stayed with them."""

    async def nobody(_rescue: Rescue) -> list[RescuedWorker]:
        return []

    monkeypatch.setattr(Rescue, "rescue", nobody)
    history: HandoffHistory[UUID, object] = HandoffHistory(
        name="one job",
        arrange=kick_off(deployment, "stumble", 1),
        transition=worked_off(deployment, 1),
        observe=observe(deployment),
    )
    with pytest.raises(HistoriesDiverged, match="worker died after commit 1"):
        judged(deployment, history)


async def claimed_and_gone(deployment: Deployment) -> None:
    """A worker that claims all there is, and is never heard of again."""
    with pytest.raises(ExceptionGroup):
        await claims_and_dies(deployment)
    deployment.rows("UPDATE worker SET seen_at = seen_at - interval '1 hour'")


async def claims_and_dies(deployment: Deployment) -> None:
    async with started_worker(deployment) as worker:
        for pulled in await pulled_at_once(deployment.jobs, 10):
            message = decode(pulled.data, pulled.attributes, pulled.message_id)
            assert isinstance(await worker.store.claim(message), Claim)
        raise ConnectionAbortedError
