"""Messages that come more than once, jobs that fail by the hundred, and messages that Pub/Sub gave up.

Run by `python -m tests.chaos` and by the system tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from daemon.client import Client
from daemon.job import JobMessage
from daemon.pubsub.publisher import Outgoing, Publisher
from daemon.rules.messages import encode, instance_id
from tests.chaos.checks import check_invariants
from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

TIMES = 10
INSTANCES = 1_000
EVERY_FIFTH = 5


async def all_messages(at: str | None = None) -> Report:
    """Each kind, one after the other, on one pool of two."""
    report = Report("messages: repeated, doubled, failing, dead")
    with Stack(at=at) as stack:
        await stack.provision()
        with EventListener(stack.project) as listener:
            async with stack.client() as client, WorkerPool(stack.environment(slots=50), stack.folder, 2):
                publisher = Publisher()
                try:
                    await ten_times(report, stack, client, publisher)
                    await without_an_id(report, stack, client, publisher)
                    await twenty_percent(report, stack, client, listener)
                    await dead_letter(report, stack, client, publisher)
                finally:
                    await publisher.close()
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
        await check_invariants(report, stack, 30.0)
    return report


async def ten_times(report: Report, stack: Stack, client: Client, publisher: Publisher) -> None:
    """The same messages ten times: twice within a batch, to both workers at once, while it runs and after it ended."""
    topic = stack.settings().topic("jobs")
    orchestration, count = uuid4(), 20
    messages = _messages(orchestration, count, '{"seconds": 1}')
    together = [message for message in messages for _ in range(2)]
    await asyncio.gather(*(publisher.publish(topic, together) for _ in range(TIMES // 2 - 1)))
    await _registered(stack, orchestration)
    await client.orchestration(orchestration).wait(timeout=30)
    await publisher.publish(topic, together)
    await _drained(stack)
    ran = stack.attempts(jobs_of(orchestration, count))
    report.is_exactly("ten times: runs", len(ran), count)
    report.note("ten times: workers that took part", len({one.pid for one in ran}))
    refused = "SELECT count(*) FROM redelivery"
    report.is_exactly("ten times: redeliveries told", stack.number(refused), count * (TIMES - 1))


async def without_an_id(report: Report, stack: Stack, client: Client, publisher: Publisher) -> None:
    """A producer that gives no job_id publishes an orchestration twice: the index makes them the same jobs."""
    topic = stack.settings().topic("jobs")
    orchestration, count = uuid4(), 10
    messages = [
        (data, {key: value for key, value in attributes.items() if key != "job_id"})
        for data, attributes in _messages(orchestration, count, '{"seconds": 0.1}')
    ]
    await publisher.publish(topic, messages)
    await publisher.publish(topic, messages)
    await _registered(stack, orchestration)
    await client.orchestration(orchestration).wait(timeout=30)
    await _drained(stack)
    report.is_exactly("without an id: runs", len(stack.attempts(jobs_of(orchestration, count))), count)
    rows = stack.number("SELECT count(*) FROM job WHERE orchestration_id = %s", orchestration)
    report.is_exactly("without an id: rows", rows, count)


async def twenty_percent(report: Report, stack: Stack, client: Client, listener: EventListener) -> None:
    """1,000 instances of which every fifth raises each time."""
    params = [{"fails": index % EVERY_FIFTH == 0} for index in range(INSTANCES)]
    made = await client.kick_off("stumble", params)
    state = await made.wait(timeout=120)
    successes, failures = await made.results()
    report.is_exactly("a fifth raises: completed and errored", f"{state.completed} {state.errored}", "800 200")
    report.is_exactly("a fifth raises: successes", len(successes), 800)
    told = [
        one
        for one in failures or ()
        if one.error is not None
        and one.error.kind == "Raised"
        and one.error.message == f"ValueError: instance {one.index} was told to fail"
        and 'raise ValueError(f"instance' in (one.error.traceback or "")
        and one.params == params[one.index]
    ]
    report.is_exactly("a fifth raises: errors told whole", len(told), 200)
    await until(lambda: listener.received_at(made.id), within=20, what="its event came")
    report.is_exactly("a fifth raises: the event's outcome", listener.outcome(made.id) or "", "Partial")
    report.is_exactly("a fifth raises: event ids", len(listener.event_ids()[str(made.id)]), 1)


async def dead_letter(report: Report, stack: Stack, client: Client, publisher: Publisher) -> None:
    """What reaches the dead-letter subscription ends no job: a recent message is run, any other is kept as rejected."""
    topic = stack.settings().topic(stack.settings().dead_letter_topic)
    recent, undated, count = uuid4(), uuid4(), 3
    history = {
        "CloudPubSubDeadLetterSourceDeliveryCount": "100",
        "CloudPubSubDeadLetterSourceSubscription": "jobs-worker",
    }
    dated = {**history, "CloudPubSubDeadLetterSourceTopicPublishTime": datetime.now(UTC).isoformat()}
    for orchestration, told in ((recent, dated), (undated, history)):
        letters = _messages(orchestration, count, "{}")
        await publisher.publish(topic, [(data, {**attributes, **told}) for data, attributes in letters])
    await publisher.publish(topic, [(b"nothing", {"what": "is this"})])
    await _registered(stack, recent, within=40)
    state = await client.orchestration(recent).wait(timeout=40)
    report.is_exactly("dead letters: completed and errored", f"{state.completed} {state.errored}", f"{count} 0")
    report.is_exactly("dead letters: runs", len(stack.attempts(jobs_of(recent, count))), count)
    kept = "SELECT count(*) FROM rejected_message WHERE reason = %s AND text LIKE %s"
    for reason, text, wanted in (("DeadLettered", "%after 100 deliveries%", count), ("NoJobName", "%", 1)):
        question = partial(stack.number, kept, reason, text)
        await until(lambda ask=question, all_=wanted: ask() >= all_, within=40, what=f"{reason} is kept")  # type: ignore[misc]
        report.is_exactly(f"dead letters: kept as {reason}", question(), wanted)
    rows = stack.number("SELECT count(*) FROM job WHERE orchestration_id = %s", undated)
    report.is_exactly("dead letters: jobs made of letters without a date", rows, 0)


def _messages(orchestration: UUID, count: int, params: str) -> Sequence[Outgoing]:
    return [
        encode(JobMessage("nap", instance_id(orchestration, index), orchestration, index, count, params))
        for index in range(count)
    ]


async def _registered(stack: Stack, orchestration: UUID, within: float = 20.0) -> None:
    question = "SELECT count(*) FROM orchestration WHERE id = %s"
    await until(lambda: stack.number(question, orchestration) == 1, within=within, what="it is registered")


async def _drained(stack: Stack) -> None:
    """Wait until Pub/Sub has nothing left for the workers."""
    path = stack.settings().subscription("jobs-worker")

    def empty() -> bool:
        figures = stack.control.subscription(path)
        return figures["backlog"] == 0 and figures["outstanding"] == 0

    await until(empty, within=30, what="every message has been acknowledged")
