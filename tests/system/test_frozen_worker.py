"""A worker that stops dead inside one of its transactions (SIGSTOP): what the others do comes all the same, in time.

It is led into each transaction by a lock that it waits for, stopped there, and the lock is taken away: its server
process goes on by itself as far as it can, and holds what it has locked. The five cases run beside each other, with the
session options that workers have; each has a database and a Pub/Sub of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from daemon.bench.load import publish
from daemon.bench.stack import Environment
from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from tests.harness.databases import TestDatabases
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

pytestmark = pytest.mark.long

TTL = 6.0
IN_TIME = 45.0
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, %s) > 0"
)
TAKEN = (  # by a relay: dated ahead, or locked
    "SELECT count(*) FROM orchestration o WHERE o.completed_at IS NOT NULL AND NOT EXISTS"
    " (SELECT FROM orchestration u WHERE u.id = o.id AND u.event_publish_at IS NULL FOR UPDATE SKIP LOCKED)"
)
LEFT = {
    "events that are not published": "SELECT count(*) FROM orchestration"
    " WHERE completed_at IS NOT NULL AND event_published_at IS NULL",
    "jobs that the dead hold": "SELECT count(*) FROM job j WHERE j.worker_id IS NOT NULL AND NOT EXISTS"
    f" (SELECT FROM worker w WHERE w.id = j.worker_id AND w.seen_at > now() - interval '{TTL} s')",
    "cancels that are not carried out": "SELECT count(*) FROM orchestration"
    " WHERE completed_at IS NULL AND cancelled_at IS NOT NULL",
}


@dataclass
class Scene:
    """One database, one Pub/Sub, and a second session that holds locks."""

    environment: Environment
    control: Control
    rows: psycopg.Connection
    rival: psycopg.Connection
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="headcount-frozen-")))

    @property
    def variables(self) -> dict[str, str]:
        settings = {"handlers": "daemon.bench.jobs", "worker_ttl_seconds": TTL}
        return worker_environment(self.environment.url, self.environment.project, self.environment.pubsub, **settings)

    def number(self, statement: str, *values: object) -> int:
        row = self.rows.execute(statement.encode(), values).fetchone()
        assert row is not None
        return int(row[0])

    def completed(self) -> None:
        """An orchestration whose event is due."""
        self.rows.execute(
            "INSERT INTO orchestration (id, job_name, total, completed_at, outcome)"
            " VALUES (gen_random_uuid(), 'noop', 0, now(), 'Completed')"
        )

    def unfinished(self, holder: UUID | None = None, losses: int = 0) -> UUID:
        """An orchestration of two jobs, held by a worker or else dated far ahead."""
        made, date = uuid4(), None if holder else "2099-01-01"
        self.rows.execute("INSERT INTO orchestration (id, job_name, total) VALUES (%s, 'noop', 2)", [made])
        self.rows.execute(
            "INSERT INTO job (id, orchestration_id, index, job_name, params, worker_id, attempt, losses, publish_at)"
            " SELECT gen_random_uuid(), %s, i, 'noop', '{}', %s, 1, %s, %s FROM generate_series(0, 1) AS i",
            [made, holder, losses, date],
        )
        return made

    def dead(self, losses: int = 0) -> UUID:
        """A worker whose heartbeat stopped long ago, and the orchestration of the jobs that it holds."""
        holder = uuid4()
        old = "INSERT INTO worker (id, host, slots, seen_at) VALUES (%s, 'gone', 2, now() - interval '1 hour')"
        self.rows.execute(old, [holder])
        return self.unfinished(holder, losses)

    def lock(self, table: str, row_id: UUID) -> None:
        statement = f"SELECT FROM {table} WHERE id = %s FOR UPDATE"
        assert self.rival.execute(statement.encode(), [row_id]).rowcount == 1

    async def until_blocked(self, statement: str) -> None:
        await until(lambda: self.number(BLOCKED, statement) > 0, within=40, what=f"{statement} waits for the lock")

    def the_worker(self) -> UUID:
        row = self.rows.execute("SELECT id FROM worker WHERE host <> 'gone'").fetchone()
        assert row is not None
        return UUID(str(row[0]))


async def claims(scene: Scene) -> None:
    scene.lock("worker", scene.the_worker())
    publish(scene.environment, "noop", 1)
    await scene.until_blocked("headcount_require(count(*) = 1")


async def settles(scene: Scene) -> None:
    publish(scene.environment, "nap", 1, params={"seconds": 1.0})
    await until(lambda: scene.number("SELECT count(*) FROM job WHERE worker_id IS NOT NULL"), within=20)
    row = scene.rows.execute("SELECT orchestration_id FROM job").fetchone()
    assert row is not None
    scene.lock("orchestration", row[0])
    await scene.until_blocked("counts, loses, cause")


async def publishes(scene: Scene) -> None:
    scene.control.go_away()  # for a while, which a publisher waits for
    scene.completed()
    await until(lambda: scene.number(TAKEN) > 0, within=20, what="the worker publishes the event")


async def rescues(scene: Scene) -> None:
    scene.lock("orchestration", scene.dead(losses=5))
    await scene.until_blocked("counts, loses, cause")


async def cancels(scene: Scene) -> None:
    orchestration = scene.unfinished()
    scene.rows.execute("UPDATE orchestration SET cancelled_at = now() WHERE id = %s", [orchestration])
    scene.lock("orchestration", orchestration)
    await scene.until_blocked("counts, loses, cause")


CASES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    one.__name__: one for one in (claims, settles, publishes, rescues, cancels)
}


@contextmanager
def staged(databases: TestDatabases, name: str) -> Iterator[Scene]:
    url = databases.migrated()
    with (
        PubSubProcess() as pubsub,
        Control(pubsub.address) as control,
        psycopg.connect(url, autocommit=True) as rows,
        psycopg.connect(url) as rival,
    ):
        scene = Scene(Environment(url, f"frozen-{name}", pubsub.address), control, rows, rival)
        typed("provision", environment=scene.variables)
        yield scene
    databases.drop(url)


async def played(databases: TestDatabases, name: str) -> None:
    with staged(databases, name) as scene:
        async with WorkerProcess(scene.variables, scene.folder) as frozen:
            await CASES[name](scene)
            frozen.pause()
            scene.rival.rollback()
            scene.control.come_back()
            scene.completed()
            scene.dead()

            def nothing_is_left() -> bool:
                left = {what: scene.number(statement) for what, statement in LEFT.items()}
                assert not any(left.values()), left
                return True

            async with WorkerProcess(scene.variables, scene.folder):
                await until(nothing_is_left, within=IN_TIME)


@pytest.fixture(scope="module")
async def playing(databases: TestDatabases) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    tasks = {name: asyncio.create_task(played(databases, name)) for name in CASES}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())


@pytest.mark.parametrize("name", CASES)
async def test_the_events_and_rescues_of_others_do_not_wait_for_a_worker_that_is_frozen_when_it(
    name: str, playing: dict[str, asyncio.Task[None]]
) -> None:
    await playing[name]
