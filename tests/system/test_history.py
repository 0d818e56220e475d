"""What an operator types about old things: prune, replay of an old message, orphans, and a command in a deadlock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from google.cloud.pubsub_v1 import SubscriberClient
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1.types import Subscription
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.client import Client
from daemon.postgres.database import async_engine
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import worker_environment
from tests.system.commands import HEADCOUNT, asked, on_path, typed

DAY = 86_400


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    """As everywhere, and Google's client of this process asks the same Pub/Sub."""
    return on_path(worker_environment(database_url, project, pubsub))


@pytest.fixture
async def engine(provisioned: dict[str, str]) -> AsyncIterator[AsyncEngine]:
    made = async_engine(provisioned["HEADCOUNT_DATABASE_URL"], 3)
    yield made
    await made.dispose()


@pytest.fixture
async def client(provisioned: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(provisioned)) as made:
        yield made


async def _run(engine: AsyncEngine, statement: str, **values: object) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def _ended(client: Client, engine: AsyncEngine, days: float) -> UUID:
    """A cancelled orchestration of two jobs that ended so many days ago."""
    made = await client.kick_off("count", [{}] * 2)
    await client.cancel(made.id)
    age = "completed_at = now() - make_interval(secs => :age), event_published_at = now()"
    await _run(engine, f"UPDATE orchestration SET {age} WHERE id = :id", age=days * DAY, id=made.id)
    published = "UPDATE job SET published_at = now() - make_interval(secs => :age) WHERE orchestration_id = :id"
    await _run(engine, published, age=days * DAY, id=made.id)
    return made.id


def _keep(environment: dict[str, str], name: str, days: int) -> None:
    path = load(environment).subscription(name)
    wanted = Subscription({"name": path, "message_retention_duration": {"seconds": days * DAY}})
    with SubscriberClient() as service:
        mask = FieldMask(paths=["message_retention_duration"])
        service.update_subscription(subscription=wanted._pb, update_mask=mask)


async def test_prune_refuses_an_age_at_which_pubsub_may_still_deliver(
    provisioned: dict[str, str], client: Client, engine: AsyncEngine
) -> None:
    orchestration = await _ended(client, engine, 16)
    refused = typed("prune", "--older-than", "14d", environment=provisioned, code=2).stderr
    said = " ".join(refused.split())
    assert "--older-than 14 days is less than 15 days" in said
    assert "jobs-worker keeps messages for 7 days and jobs-dead-worker keeps messages for 7 days" in said
    _keep(provisioned, "jobs-worker", 10)
    assert "18 days" in typed("prune", "--older-than", "15d", environment=provisioned, code=2).stderr
    _keep(provisioned, "jobs-worker", 7)
    assert (await client.state(orchestration)).total == 2
    expected = {"pruned": 1, "jobs": 2, "redeliveries": 0, "repairs": 0, "rejected": 0, "signals": 0}
    words = ("prune", "--older-than", "15d", "--json")
    assert asked(*words, "--dry-run", environment=provisioned) == expected
    assert asked(*words, environment=provisioned) == expected
    typed("status", str(orchestration), environment=provisioned, code=3)
    assert "nothing is that old" in typed("prune", environment=provisioned).stdout


async def test_prune_without_an_age_keeps_what_a_longer_retention_may_still_deliver(
    provisioned: dict[str, str], client: Client, engine: AsyncEngine
) -> None:
    for name in ("jobs-worker", "jobs-dead-worker"):
        _keep(provisioned, name, 31)
    made = await client.kick_off("count", [])
    await _run(engine, "UPDATE orchestration SET completed_at = now() - interval '62 days', event_published_at = now()")
    assert asked("prune", "--json", environment=provisioned)["pruned"] == 0
    await _run(engine, "UPDATE orchestration SET completed_at = now() - interval '64 days'")
    assert asked("prune", "--json", environment=provisioned)["pruned"] == 1
    typed("status", str(made.id), environment=provisioned, code=3)


async def test_prune_deletes_nothing_when_it_cannot_ask_for_the_retention(
    environment: dict[str, str],
) -> None:
    said = typed("prune", environment=environment, code=2).stderr
    assert "does not exist" in said
    assert "headcount provision" in said


async def test_an_old_rejected_message_is_replayed_only_as_a_new_job(
    provisioned: dict[str, str], engine: AsyncEngine
) -> None:
    attributes = {"job_name": "count", "job_id": str(uuid4()), "orchestration_id": str(uuid4()), "index": "0"}
    await _run(
        engine,
        """INSERT INTO rejected_message (message_id, reason, text, data, attributes, published_at)
           VALUES ('1', 'r', 't', '{}', CAST(:attributes AS json), now() - interval '16 days')""",
        attributes=json.dumps({**attributes, "count": "3", "tag.customer": "c-17"}),
    )
    said = " ".join(typed("rejected", "replay", "1", environment=provisioned, code=2).stderr.split())
    assert "message 1 is 16 days old" in said
    assert "headcount rejected replay 1 --as-new" in said
    typed("rejected", "replay", "1", "--as-new", environment=provisioned)
    path = load(provisioned).subscription("jobs-worker")
    with SubscriberClient() as service:
        (received,) = service.pull(subscription=path, max_messages=10).received_messages
    assert dict(received.message.attributes) == {"job_name": "count", "tag.customer": "c-17"}


async def test_verify_names_orphans_and_the_command_it_names_deletes_them(
    provisioned: dict[str, str], client: Client, engine: AsyncEngine
) -> None:
    orphaned, kept = await client.kick_off("count", [{}] * 3), await client.kick_off("count", [{}])
    await _run(engine, "DELETE FROM orchestration WHERE id = :id", id=orphaned.id)
    said = " ".join(typed("verify", environment=provisioned, code=1).stdout.split())
    assert f"orphans: {orphaned.id} has no row, but 3 jobs of it have (3 unfinished)" in said
    assert "headcount verify --delete-orphans" in said
    typed("verify", "--delete-orphans", environment=provisioned, given="n\n", code=1)
    assert "every invariant holds" in typed("verify", "--delete-orphans", environment=provisioned, given="y\n").stdout
    assert asked("verify", "--delete-orphans", "--yes", "--json", environment=provisioned) == []
    assert (await client.state(kept.id)).total == 1


async def _blocked(connection: AsyncConnection) -> bool:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool((await connection.execute(text(waits))).scalar())


async def test_a_command_that_ends_in_a_deadlock_is_done_again(
    provisioned: dict[str, str], client: Client, engine: AsyncEngine
) -> None:
    made = await client.kick_off("count", [{}] * 2)
    rows = "SELECT FROM job WHERE id = (SELECT id FROM job ORDER BY id {} LIMIT 1) FOR UPDATE"
    async with engine.connect() as rival, engine.connect() as watcher:
        await watcher.execution_options(isolation_level="AUTOCOMMIT")
        await rival.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        await rival.execute(text(rows.format("DESC")))
        command = await asyncio.create_subprocess_exec(
            *HEADCOUNT, "republish", str(made.id), "--json", env=provisioned, stdout=-1, stderr=-1
        )
        await until(lambda: _blocked(watcher), within=20, what="the command waits for a job")
        await rival.execute(text(rows.format("ASC")))  # against the order of the locks
        await rival.commit()
        output, errors = await command.communicate()
    assert (command.returncode, json.loads(output)) == (0, {"republished": 2}), errors
