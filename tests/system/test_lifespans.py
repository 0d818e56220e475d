"""What handlers share lives as long as their worker, or their child process, and is closed when it drains."""

from __future__ import annotations

from pathlib import Path

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.worker import WorkerProcess, worker_environment

HANDLERS = '''
"""Handlers that share a file: one on the event loop, one in a child process."""
from collections.abc import AsyncIterator
import os
from pathlib import Path

from daemon import JobContext, job, lifespan

DIARY = Path(__file__).with_name("diary")


class Diary:
    def write(self, text: str) -> None:
        with DIARY.open("a") as file:
            print(os.getpid(), text, file=file)


@lifespan
async def diary() -> AsyncIterator[Diary]:
    diary = Diary()
    diary.write("opened")
    yield diary
    diary.write("closed")


@job("here")
async def here(params: dict, diary: Diary) -> None:
    diary.write("here")


@job("there", executor="process")
def there(params: dict, ctx: JobContext, diary: Diary) -> None:
    diary.write("there")
'''


async def test_a_lifespan_is_opened_once_per_process_and_closed_at_the_drain(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text(HANDLERS)
    environment = worker_environment(
        database_url, project, pubsub, handlers_path=tmp_path, process_slots=1, drain_seconds=1
    )
    await provision(desired(load(environment)))
    async with (
        WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker,
        Client(load(environment)) as client,
    ):
        for name in ("here", "there"):
            state = await (await client.kick_off(name, [{}, {}])).wait(timeout=60)
            assert state.completed == 2
        worker.terminate()
        await worker.until_exit()
    lines = [line.split() for line in (package / "diary").read_text().splitlines()]
    by_process = {pid: [text for other, text in lines if other == pid] for pid, _ in lines}
    assert sorted(by_process.values()) == [
        ["opened", "here", "here", "closed"],
        ["opened", "there", "there", "closed"],
    ]


async def test_a_worker_whose_lifespan_fails_says_so_and_does_not_start(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text(HANDLERS.replace('    diary.write("opened")', '    raise OSError("no disk")'))
    environment = worker_environment(database_url, project, pubsub, handlers_path=tmp_path)
    await provision(desired(load(environment)))
    worker = WorkerProcess(environment, tmp_path, handlers_in=tmp_path)
    worker.start()
    await worker.until_exit(code=2, within=60)
    assert "OSError: no disk" in worker.log
