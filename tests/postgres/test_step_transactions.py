"""Steps with tx=True: the effects and the record commit together, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.errors import InvalidStep
from daemon.job import Claim, Refused
from daemon.postgres.step_transactions import DatabaseTransactions
from tests.postgres.cutting_proxy import CuttingProxy
from tests.postgres.scene import Scene, message_for, pointer_to

PLAIN = pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
EFFECT = text("INSERT INTO effect VALUES (:what)")
Run = Callable[[Claim, str], Awaitable[str | None]]


@pytest.fixture
async def effects(scene: Scene) -> AsyncIterator[Scene]:
    """A scene with a table of the author's."""
    await scene.run("CREATE TABLE effect (what text)")
    yield scene
    await scene.run("DROP TABLE effect")


def runs(transactions: DatabaseTransactions, statement: str, *, plain: bool) -> Run:
    """Runs a step that has an effect, and then executes a statement."""

    async def body(connection: object) -> str:
        assert isinstance(connection, AsyncConnection)
        await connection.execute(EFFECT, {"what": "charged"})
        await connection.execute(text(statement))
        return '"charged"'

    def plain_body(connection: object) -> str:
        assert isinstance(connection, Connection)
        connection.execute(EFFECT, {"what": "charged"})
        connection.execute(text(statement))
        return '"charged"'

    async def run(claim: Claim, name: str) -> str | None:
        if plain:
            return await asyncio.to_thread(transactions.run_in_thread, claim, name, 1, plain_body)
        return await transactions.run(claim, name, 1, body)

    return run


async def kept(scene: Scene) -> tuple[int, list[str]]:
    """How many effects, and the names of the recorded steps."""
    rows = await scene.run("SELECT name FROM durable_step WHERE kind = 'tx'")
    return int(await scene.value("count(*) FROM effect")), [row["name"] for row in rows]


@PLAIN
async def test_an_effect_and_its_record_commit_together(effects: Scene, plain: bool) -> None:
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 2, 10)
    claim = await worker.claim(message_for(uuid4()))
    run = runs(transactions, "SELECT 1", plain=plain)
    assert await run(claim, "charge") == '"charged"'
    assert await kept(effects) == (1, ["charge"])
    await transactions.close()


@PLAIN
@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "SELECT pg_sleep(30)"], ids=["fails", "takes too long"])
async def test_a_step_that_fails_has_no_effect(effects: Scene, statement: str, plain: bool) -> None:
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 2, 0.2)
    claim = await worker.claim(message_for(uuid4()))
    with pytest.raises(DBAPIError):
        await runs(transactions, statement, plain=plain)(claim, "charge")
    assert await kept(effects) == (0, [])
    await transactions.close()


@PLAIN
async def test_an_attempt_that_lost_its_claim_has_no_effect(effects: Scene, plain: bool) -> None:
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 2, 10)
    claim = await worker.claim(message_for(uuid4()))
    await effects.run("UPDATE job SET attempt = 2")
    assert await runs(transactions, "SELECT 1", plain=plain)(claim, "charge") is None
    assert await kept(effects) == (0, [])
    await transactions.close()


@PLAIN
async def test_a_commit_whose_answer_is_lost_is_looked_up(effects: Scene, plain: bool) -> None:
    worker = await effects.worker()
    claim = await worker.claim(message_for(uuid4()))
    async with CuttingProxy(effects.url).running() as proxy:
        transactions = DatabaseTransactions(proxy.url, 2, 10)
        proxy.cut_after(b"INTO durable_step")
        assert await runs(transactions, "SELECT 1", plain=plain)(claim, "charge") == '"charged"'
        assert proxy.cuts == 1
        await transactions.close()
    assert await kept(effects) == (1, ["charge"])


async def test_a_link_that_is_lost_before_the_commit_leaves_no_effect(effects: Scene) -> None:
    worker = await effects.worker()
    claim = await worker.claim(message_for(uuid4()))
    transactions = DatabaseTransactions(effects.url, 2, 10)
    with pytest.raises(DBAPIError):
        await runs(transactions, "SELECT pg_terminate_backend(pg_backend_pid())", plain=False)(claim, "charge")
    assert await kept(effects) == (0, [])
    await transactions.close()


async def test_a_step_does_not_end_its_transaction_itself(effects: Scene) -> None:
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 2, 10)
    claim = await worker.claim(message_for(uuid4()))

    async def body(connection: object) -> str:
        assert isinstance(connection, AsyncConnection)
        await connection.rollback()
        return "1"

    with pytest.raises(InvalidStep, match="ended its transaction itself"):
        await transactions.run(claim, "charge", 1, body)
    await transactions.close()


async def test_no_claim_waits_for_the_statements_of_a_step(effects: Scene) -> None:
    """Its job's row is locked by the record only, so that duplicates of its message are answered meanwhile."""
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 2, 60)
    message = message_for(uuid4())
    claim = await worker.claim(message)
    written, may_end = asyncio.Event(), asyncio.Event()

    async def body(connection: object) -> str:
        assert isinstance(connection, AsyncConnection)
        await connection.execute(EFFECT, {"what": "charged"})
        written.set()
        await may_end.wait()
        return "1"

    step = asyncio.create_task(transactions.run(claim, "charge", 1, body))
    await written.wait()
    async with asyncio.timeout(0.9):  # a claim gives a locked row up after a second
        answers = await worker.answers(message, pointer_to(message), message_for(uuid4()))
    assert [type(one) for one in answers] == [Refused, Refused, Claim]
    may_end.set()
    assert await step == "1"
    assert await kept(effects) == (1, ["charge"])
    await transactions.close()


async def test_a_step_waits_for_a_free_connection(effects: Scene) -> None:
    worker, transactions = await effects.worker(), DatabaseTransactions(effects.url, 1, 10)
    claims = [await worker.claim(message_for(uuid4())) for _ in range(3)]
    run = runs(transactions, "SELECT pg_sleep(0.05)", plain=False)
    assert await asyncio.gather(*(run(claim, "charge") for claim in claims)) == ['"charged"'] * 3
    await transactions.close()
