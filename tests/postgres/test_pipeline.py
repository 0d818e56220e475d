"""One transaction in one packet: what arrives at the server, and what becomes of the link when something goes wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.job import Claim, Settled
from daemon.postgres.claims import ClaimRequest, Claims
from daemon.postgres.database import async_engine, is_bad_item, passes
from daemon.postgres.pipeline import PROCESS, PinnedConnection, Rows, raw_connection, run_transaction
from daemon.postgres.settlements import Settlements
from tests.postgres.cutting_proxy import CuttingProxy
from tests.postgres.scene import TTL, Scene, decided, messages_for

DIVIDE = text("SELECT 1 / CAST(:by AS int) AS part")
LENGTH = text("SELECT length(CAST(:told AS text)) AS size")
BIG = 20 * 1024 * 1024


async def _asked(connection: AsyncConnection, **values: object) -> Rows:
    (rows,) = await run_transaction(connection, [(DIVIDE, values)])
    return rows


@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_a_claim_and_a_settlement_leave_in_one_packet_each(scene: Scene, pooler: str) -> None:
    worker = await scene.worker()
    first, second = ([ClaimRequest(message) for message in messages_for(uuid4(), 20)] for _ in range(2))
    async with CuttingProxy(scene.url).running() as proxy:
        engine = async_engine(proxy.url, 2, pooler)
        claims, settlements = Claims(engine, lambda: worker.id, TTL), Settlements(engine, lambda: None)
        await settlements.write([decided(one) for one in await claims.write(first) if isinstance(one, Claim)])
        before = proxy.packets
        given = [one for one in await claims.write(second) if isinstance(one, Claim)]
        assert (len(given), proxy.packets) == (20, before + 1)
        answers = await settlements.write([decided(one) for one in given])
        assert (answers, proxy.packets) == ([Settled.STORED] * 20, before + 2)
        await claims.pinned.close()
        await settlements.pinned.close()
        await engine.dispose()


async def test_a_link_that_forgot_its_statements_learns_them_again(scene: Scene) -> None:
    async with scene.engine.connect() as connection:
        assert (await _asked(connection, by=1))[0].part == 1
        await connection.execute(text("DEALLOCATE ALL"))
        await connection.commit()
        for _ in range(2):
            assert (await _asked(connection, by=1))[0].part == 1


async def test_a_refusal_is_raised_as_the_server_said_it_and_nothing_of_its_packet_stays(scene: Scene) -> None:
    make = text("CREATE TABLE made_in_vain AS SELECT CAST(:one AS int) AS one")
    async with scene.engine.connect() as connection:
        link = raw_connection(connection)
        with pytest.raises(psycopg.errors.DivisionByZero) as refused:
            await run_transaction(connection, [(make, {"one": 1}), (DIVIDE, {"by": 0}), (DIVIDE, {"by": 1})])
        assert is_bad_item(refused.value)
        await link.rollback()
        assert (await _asked(connection, by=1))[0].part == 1
    assert await scene.value("to_regclass('made_in_vain')") is None


async def test_long_questions_and_long_answers_do_not_wait_for_each_other(scene: Scene) -> None:
    answer = text("SELECT repeat('x', CAST(:size AS int)) AS told")
    async with asyncio.timeout(60), scene.engine.connect() as connection:
        queries = [(answer, {"size": BIG}), (LENGTH, {"told": "y" * BIG})]
        (told,), (heard,) = await run_transaction(connection, queries)
    assert (len(told.told), heard.size) == (BIG, BIG)


async def test_a_wait_that_is_given_up_costs_the_link_and_the_next_batch_gets_another(scene: Scene) -> None:
    pinned = PinnedConnection(scene.engine)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), pinned.connection() as connection:
            await run_transaction(connection, [(text("SELECT pg_sleep(CAST(:s AS int))"), {"s": 60})])
    async with pinned.connection() as connection:
        assert (await _asked(connection, by=1))[0].part == 1
    await pinned.close()


async def test_a_link_that_the_server_ends_is_an_error_that_passes(scene: Scene) -> None:
    pinned, end = (
        PinnedConnection(scene.engine),
        text("SELECT pg_terminate_backend(pg_backend_pid()), CAST(:by AS int)"),
    )
    with pytest.raises(psycopg.OperationalError) as lost:
        async with pinned.connection() as connection:
            await run_transaction(connection, [(end, {"by": 1}), (DIVIDE, {"by": 1})])
    assert passes(lost.value)
    async with pinned.connection() as connection:
        assert (await _asked(connection, by=1))[0].part == 1
    await pinned.close()


async def test_two_batches_at_once_have_a_link_each_and_one_of_them_is_kept(scene: Scene) -> None:
    pinned = PinnedConnection(scene.engine)
    async with pinned.connection() as first, pinned.connection() as second:
        assert raw_connection(first) is not raw_connection(second)
        assert (await _asked(first, by=1)) == (await _asked(second, by=1))
        stays = raw_connection(second)
    async with pinned.connection() as connection:
        assert raw_connection(connection) is stays
    await pinned.close()


async def test_a_lane_that_is_never_idle_lends_its_link_to_whoever_waits_for_one(scene: Scene) -> None:
    engine = async_engine(scene.url, 1)
    pinned, done = PinnedConnection(engine), asyncio.Event()

    async def lane() -> None:
        while not done.is_set():
            async with pinned.connection() as connection:
                await _asked(connection, by=1)

    busy = asyncio.create_task(lane())
    async with asyncio.timeout(10):
        for _ in range(20):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
    done.set()
    await busy
    await pinned.close()
    await engine.dispose()


async def test_a_lane_that_has_nothing_to_do_gives_its_link_back(scene: Scene) -> None:
    engine = async_engine(scene.url, 1)
    pinned = PinnedConnection(engine)
    async with pinned.connection() as connection:
        await _asked(connection, by=1)
    async with asyncio.timeout(10), engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    async with pinned.connection() as connection:
        assert (await _asked(connection, by=1))[0].part == 1
    await pinned.close()
    await engine.dispose()


def _name_of_another_process() -> str:
    script = "from daemon.postgres import pipeline; print(pipeline.PROCESS.decode())"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


async def test_two_processes_never_prepare_a_statement_under_the_same_name(scene: Scene) -> None:
    """A pooler that nobody announced may give one session to both."""
    prepared = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'headcount%'"
    async with scene.engine.connect() as connection:
        await _asked(connection, by=1)
        names = set((await connection.execute(text(prepared))).scalars())
    shown = _name_of_another_process()
    assert names
    assert shown
    assert not any(shown in name for name in names)
    assert all(PROCESS.decode() in name for name in names)
