"""Producers without an event loop: the same answers as the asynchronous client's, from any thread."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from daemon import Client, Orchestration, SyncClient, SyncOrchestration
from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import Status
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.typed_jobs import Access, Login, log_in

LOGIN = Login(user="eve", password=SecretStr("open sesame"))
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    made = worker_environment(database_url, project, pubsub, handlers="tests.system.typed_jobs")
    await provision(desired(load(made)))
    return made


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[SyncClient]:
    with SyncClient(load(environment)) as opened:
        yield opened


async def test_a_thread_kicks_off_waits_and_reads_typed_results(
    environment: dict[str, str], client: SyncClient, tmp_path: Path
) -> None:
    def producer() -> None:
        made = client.kick_off(log_in, [LOGIN, LOGIN], tags={"by": "thread"})
        assert made.wait(timeout=60).completed == 2
        successes, failures = made.results()
        assert failures is None
        assert [one.result for one in successes] == [Access(user="eve", length=11, since=date(2026, 1, 2))] * 2
        assert {one.index for one in made.stream_results(Status.COMPLETED)} == {0, 1}
        assert client.state(made.id).tags == {"by": "thread"}

    async with WorkerProcess(environment, tmp_path):
        await asyncio.to_thread(producer)


def test_many_threads_share_one_client(client: SyncClient) -> None:
    def producer(number: int) -> int:
        made = client.kick_off(log_in, [LOGIN] * number, start_at=TOMORROW)
        assert made.progress().total == number
        return made.cancel()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(producer, range(1, 25))) == list(range(1, 25))


def test_errors_are_those_of_the_asynchronous_client(client: SyncClient) -> None:
    with pytest.raises(OrchestrationNotFound):
        client.cancel(uuid4())
    with pytest.raises(RequestRefused, match="not a JSON object"):
        client.kick_off("log_in", [3])
    made = client.kick_off("log_in", [{}], start_at=TOMORROW)
    with pytest.raises(TimeoutError):
        made.wait(timeout=0.01)
    assert client.orchestration(made.id).progress().total == 1, "the client works on"


def test_a_closed_client_says_so_and_its_thread_has_ended(environment: dict[str, str]) -> None:
    client = SyncClient(load(environment))
    assert any(thread.name == "headcount-client" for thread in threading.enumerate())
    client.close()
    client.close()
    assert not any(thread.name == "headcount-client" for thread in threading.enumerate())
    with pytest.raises(RequestRefused, match="closed"):
        client.state(uuid4())


def test_after_a_fork_the_child_is_told_instead_of_waiting_for_ever(client: SyncClient) -> None:
    child = os.fork()
    if child == 0:
        try:
            client.state(uuid4())
        except RequestRefused as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ctrl_c_ends_a_wait_and_the_client_works_on(client: SyncClient) -> None:
    made = client.kick_off("log_in", [{}], start_at=TOMORROW)
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        made.wait(timeout=60)
    assert made.cancel() == 1


def test_a_connection_of_another_loop_is_refused(client: SyncClient) -> None:
    with pytest.raises(RequestRefused, match="takes no connection"):
        client.kick_off("log_in", [{}], connection=object())  # type: ignore[arg-type]


@pytest.mark.parametrize(("sync", "asynchronous"), [(SyncClient, Client), (SyncOrchestration, Orchestration)])
def test_both_clients_have_the_same_methods_with_the_same_parameters(sync: type, asynchronous: type) -> None:
    def methods(of: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(of).items()
            if inspect.isfunction(method) and not name.startswith("_")
        }

    ours, theirs = methods(sync), methods(asynchronous)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= {"kick_off"}
