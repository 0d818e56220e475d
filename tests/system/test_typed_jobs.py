"""A handler is kicked off itself: its params are checked first, and its results have its type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.client import Client
from daemon.errors import HandlersInvalid, RequestRefused
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed
from tests.system.typed_jobs import Access, Login, log_in


@pytest.fixture
async def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    made = worker_environment(database_url, project, pubsub, handlers="tests.system.typed_jobs")
    await provision(desired(load(made)))
    return made


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as opened:
        yield opened


async def test_a_handler_that_is_kicked_off_itself_gives_results_of_its_type(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path):
        login = Login(user="eve", password=SecretStr("open sesame"))
        orchestration = await client.kick_off(log_in, [login])
        async with asyncio.timeout(60):
            successes, failures = await orchestration.results()
    assert failures is None
    assert [one.result for one in successes] == [Access(user="eve", length=11, since=date(2026, 1, 2))]
    by_id = [one async for one in client.orchestration(orchestration.id).stream_results()]
    assert [one.result for one in by_id] == [{"user": "eve", "length": 11, "since": "2026-01-02"}]


@pytest.mark.long
async def test_secret_params_are_masked_wherever_the_command_line_shows_them(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    publisher, topic = Publisher(), load(environment).topic("jobs")
    await publisher.publish(topic, [(b'{"user": "eve", "password": "hush"}', {"job_name": "log_in", "index": "x"})])
    orchestration = await client.kick_off("log_in", [{"user": "eve", "password": "hush"}])
    early = await asyncio.to_thread(typed, "results", str(orchestration.id), "--help", environment=environment)
    assert "--reveal" in early.stdout
    async with WorkerProcess(environment, tmp_path):
        async with asyncio.timeout(60):
            await orchestration.wait()

        async def rejected() -> str:
            return (await asyncio.to_thread(typed, "rejected", "list", "--json", environment=environment)).stdout

        await until(rejected, within=30)
    number, (done,) = str(json.loads(await rejected())["id"]), await client.outcomes(orchestration.id)
    for words in (("results", str(orchestration.id)), ("explain", str(done.job_id)), ("rejected", "show", number)):
        for form in ((), ("--json",)):
            masked = await asyncio.to_thread(typed, *words, *form, environment=environment)
            assert "eve" in masked.stdout
            assert "***" in masked.stdout
            assert "hush" not in masked.stdout + masked.stderr
            revealed = await asyncio.to_thread(typed, *words, *form, "--reveal", environment=environment)
            assert "hush" in revealed.stdout
    await publisher.close()


async def test_params_of_a_job_that_no_worker_has_described_are_hidden(
    environment: dict[str, str], client: Client
) -> None:
    orchestration = await client.kick_off("log_in", [{"user": "eve", "password": "hush"}])
    await client.cancel(orchestration.id)
    shown = await asyncio.to_thread(typed, "results", str(orchestration.id), "--json", environment=environment, code=1)
    assert json.loads(shown.stdout)["params"] == "***"


async def test_params_that_do_not_fit_are_refused_before_anything_is_stored(client: Client) -> None:
    wrong = [Login(user="a", password=SecretStr("p")), {"user": ["hidden"], "password": "p"}]
    with pytest.raises(RequestRefused, match=r"params of instance 1 do not fit 'log_in': user: .*string") as refusal:
        await client.kick_off(log_in, wrong, idempotency_key="once")  # type: ignore[list-item]
    assert "hidden" not in str(refusal.value)
    good = await client.kick_off("log_in", [{"user": "a", "password": "p"}], idempotency_key="once")
    assert (await good.progress()).total == 1, "the key is still free"


async def test_a_function_without_a_job_name_is_not_kicked_off(client: Client) -> None:
    def plain(params: dict[str, int]) -> int: ...

    with pytest.raises(HandlersInvalid, match="not decorated"):
        await client.kick_off(plain, [{}])
