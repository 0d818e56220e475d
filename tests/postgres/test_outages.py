"""The server goes away in the middle of the store's work: nothing is split, nothing is lost, and it says so once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from daemon.job import Claim, Progress, Settled
from daemon.local.postgres import EmbeddedPostgres
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.migrations import upgrade
from daemon.postgres.store import Store
from tests.harness.waiting import until
from tests.postgres.scene import TTL, Scene, decided, messages_for


@dataclass
class Heard(Observer):
    """What the group commits reported."""

    trouble: list[str] = field(default_factory=list)
    failures: int = 0
    away: list[bool] = field(default_factory=list)

    def batch_split(self, operation: str, size: int) -> None:
        self.trouble.append(f"{operation} split {size}")

    def item_rejected(self, operation: str, error: BaseException) -> None:
        self.trouble.append(f"{operation} refused {error}")

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        self.failures += 1


@dataclass
class Office:
    """A running store on a server that can be crashed."""

    server: EmbeddedPostgres
    store: Store
    heard: Heard
    scene: Scene

    async def out(self) -> None:
        """Crash the server."""
        await asyncio.to_thread(self.server.crash)

    async def back(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self.server.start)
        await self.scene.run("UPDATE worker SET seen_at = now()")

    async def until_away(self) -> None:
        await until(lambda: self.store.unavailable, what="the store is away")


@pytest.fixture
async def office(own_postgres: EmbeddedPostgres) -> AsyncIterator[Office]:
    url = own_postgres.url(tcp_port=own_postgres.tcp_port)
    upgrade(url)
    engine, heard = async_engine(url, 10), Heard()
    scene = Scene(engine, url)
    worker = await scene.worker()
    store = Store(engine, lambda: worker.id, TTL, heard, completed=lambda: None, on_unavailable=heard.away.append)
    running = asyncio.create_task(store.run())
    yield Office(own_postgres, store, heard, scene)
    running.cancel()
    await engine.dispose()


async def test_claims_and_settlements_wait_for_the_server_and_are_done_once(office: Office) -> None:
    messages = messages_for(uuid4(), 300)
    held = [asyncio.ensure_future(office.store.claim(message)) for message in messages[:150]]
    claims = [answer for answer in await asyncio.gather(*held) if isinstance(answer, Claim)]
    in_flight = [asyncio.ensure_future(office.store.settle(claim, decided(claim))) for claim in claims[:100]]
    await asyncio.sleep(0)
    await office.out()
    late = [asyncio.ensure_future(office.store.claim(message)) for message in messages[150:]]
    later = [asyncio.ensure_future(office.store.settle(claim, decided(claim))) for claim in claims[100:]]
    await office.until_away()
    await office.back()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*in_flight, *later) == [Settled.STORED] * 150
        answers = await asyncio.gather(*late)
    assert all(isinstance(answer, Claim) and answer.attempt == 1 for answer in answers)
    assert (office.heard.trouble, office.heard.failures > 0, office.store.unavailable) == ([], True, False)
    assert office.heard.away.count(True) == office.heard.away.count(False)
    whole = await office.scene.orchestration(messages[0].orchestration_id)
    assert (whole["completed"], await office.scene.value("count(*) FROM job")) == (150, 300)


async def test_unwritten_progress_does_not_cost_a_job_its_result(office: Office) -> None:
    answer = await office.store.claim(messages_for(uuid4(), 1)[0])
    assert isinstance(answer, Claim)
    await office.out()
    office.store.progress.progress(answer, Progress(6, 6, "Creating image 6 of 6"))
    office.store.progress.note(answer, "the last note")
    settling = asyncio.ensure_future(office.store.settle(answer, decided(answer)))
    await asyncio.sleep(0)
    assert not settling.done()
    await office.back()
    async with asyncio.timeout(20):
        assert await settling is Settled.STORED
    row = await office.scene.job(answer.job_id)
    assert (row["status"], row["progress_message"]) == ("Completed", "Creating image 6 of 6")
    assert await office.scene.value("text FROM progress_note") == "the last note"


async def test_a_restart_between_two_statements_is_not_noticed_by_the_caller(office: Office) -> None:
    for message in messages_for(uuid4(), 3):
        await asyncio.to_thread(office.server.restart)
        async with asyncio.timeout(20):
            answer = await office.store.claim(message)
        assert isinstance(answer, Claim)
    assert office.heard.trouble == []
