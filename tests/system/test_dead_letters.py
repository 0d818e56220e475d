"""Dead letters for real: Pub/Sub gives messages up, and their jobs run all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud.pubsub_v1 import SubscriberClient
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1.types import Subscription

from daemon.client import Client
from daemon.local.pubsub.control import Control
from daemon.pubsub.publisher import Publisher
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import asked, typed

HANDLERS = '''
"""A handler that leaves a trace of each run."""
from pathlib import Path

from daemon import JobContext, job


@job("trace")
def trace(params: dict, ctx: JobContext) -> dict:
    with Path(params["file"]).open("a") as file:
        file.write("ran\\n")
    return {"attempt": ctx.attempt}
'''
ATTEMPTS = 5  # the fewest that Pub/Sub takes


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    """A worker's settings; its subscription gives a message up after five deliveries, without a pause in between."""
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "traces.py").write_text(HANDLERS)
    settings = worker_environment(database_url, project, pubsub, handlers_path=tmp_path, worker_ttl_seconds=6, slots=4)
    typed("provision", environment=settings)
    loaded = load(settings)
    wanted = Subscription(
        {
            "name": loaded.subscription(loaded.jobs_subscription),
            "retry_policy": {"minimum_backoff": {"seconds": 0}, "maximum_backoff": {"seconds": 0}},
            "dead_letter_policy": {
                "dead_letter_topic": loaded.topic(loaded.dead_letter_topic),
                "max_delivery_attempts": ATTEMPTS,
            },
        }
    )
    with SubscriberClient() as service:
        mask = FieldMask(paths=["retry_policy", "dead_letter_policy"])
        service.update_subscription(subscription=wanted._pb, update_mask=mask)
    return settings


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as made:
        yield made


def until_dead(environment: dict[str, str], count: int) -> None:
    """Give every message back, as a full worker does, until Pub/Sub has moved `count` of them to the dead letters."""
    settings = load(environment)
    path = settings.subscription(settings.jobs_subscription)
    with SubscriberClient() as service, Control(environment["PUBSUB_EMULATOR_HOST"]) as control:
        while control.subscription(path)["dead_lettered"] < count:
            try:
                given = service.pull(subscription=path, max_messages=100, timeout=1).received_messages
            except DeadlineExceeded:
                continue
            ids = [one.ack_id for one in given]
            if ids:
                service.modify_ack_deadline(subscription=path, ack_ids=ids, ack_deadline_seconds=0)


async def test_jobs_whose_messages_are_dead_lettered_without_a_run_still_run_once(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    started = await client.kick_off("trace", [{"file": str(trace)}] * 3)
    until_dead(environment, 3)
    assert not trace.exists()
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        state = await started.wait(40)
    assert (state.completed, state.errored) == (3, 0)
    assert trace.read_text() == "ran\n" * 3
    assert typed("verify", environment=environment).returncode == 0


async def test_bare_messages_that_are_dead_lettered_before_they_have_a_row_still_run_once(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    trace, orchestration, publisher, settings = tmp_path / "trace", uuid4(), Publisher(), load(environment)
    common = {"job_name": "trace", "orchestration_id": str(orchestration), "count": "2", "tag.customer": "c-17"}
    body = json.dumps({"file": str(trace)}).encode()
    messages = [(body, {**common, "index": str(index)}) for index in range(2)]
    await publisher.publish(settings.topic(settings.jobs_topic), messages)
    await publisher.close()
    until_dead(environment, 2)
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        await until(lambda: _completed(environment, orchestration) == 2, within=40, what="both instances are Completed")
    assert trace.read_text() == "ran\n" * 2
    assert asked("status", str(orchestration), "--json", environment=environment)["tags"] == {"customer": "c-17"}


def _completed(environment: dict[str, str], orchestration: UUID) -> int:
    shown = typed("status", str(orchestration), "--json", environment=environment, code=None)
    return json.loads(shown.stdout)["completed"] if shown.stdout.startswith("{") else 0
