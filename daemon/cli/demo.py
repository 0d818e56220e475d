"""`headcount demo`: everything at work on this machine in some seconds, with no cloud and no account.

Called by a newcomer. It starts real servers and a real `headcount run`; what it then does (in `demo_play`) any producer
could do. It stops all of it at the end, and when it is interrupted.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import Exit, echo_err, echo_json, spinner
from daemon.errors import StartupError

if TYPE_CHECKING:
    from daemon.cli.demo_play import Plan, Played
    from daemon.cli.local_worker import LocalWorker
    from daemon.local.stack import LocalStack

DATABASE = "demo"
HANDLER = Path("handlers") / "checksum_file.py"
CLONE = "git clone https://github.com/headcount-dev/headcount && cd headcount && make demo"


def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Whose files; default: the current folder."),
    ] = Path(),
    with_failure: Annotated[
        bool, typer.Option("--with-failure", help="Add an instance that fails, and see what becomes of it.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many workers.")] = 1,
    as_json: AsJson = False,
) -> None:
    """See it work: checksums of every file of DIR by real workers, and a manifest of them, on this machine only.

    The servers' data is kept in ~/.cache/headcount (or HEADCOUNT_HOME), so that the next demo starts faster.
    """
    from daemon.cli.local_start import end_like_ctrl_c
    from daemon.local.stack import home

    began = time.monotonic()
    end_like_ctrl_c()
    kept = home() / "demo"
    try:
        with ExitStack() as running:
            plan, played = _perform(running, folder.resolve(), kept, with_failure, workers)
            _tell(plan, played, as_json)
    except KeyboardInterrupt:
        echo_err("interrupted; everything is stopped")
        raise
    seconds = time.monotonic() - began
    if as_json:
        echo_json({**played.as_json(), "seconds": round(seconds, 2)})
    echo_err(f"all servers and workers are stopped; the whole demo took {seconds:.1f} s")
    raise typer.Exit(Exit.OK if played.went_well else Exit.FAILED)


def _perform(running: ExitStack, folder: Path, kept: Path, with_failure: bool, workers: int) -> tuple[Plan, Played]:
    """Start everything into `running`, then play."""
    import asyncio

    handlers = _handlers_folder()
    with spinner("Postgres and Pub/Sub are starting"):
        stack = _started_stack(running, kept)
    _step("Postgres", stack.postgres_origin)
    _step("Pub/Sub", f"{stack.pubsub_address}, Headcount's own server for tests and demos; Google's client talks to it")
    with spinner("the workers are starting"):
        hired, seconds = _ready_workers(running, stack, handlers, folder, kept, workers)
    logs = ", ".join(str(worker.log) for worker in hired)
    _step("Worker", f"{workers} x `headcount run`, ready after {seconds:.1f} s; log: {logs}")

    from daemon.cli.demo_play import planned, play

    plan = planned(folder, Path.cwd(), kept, with_failure)
    _step("Files", plan.described())
    return plan, asyncio.run(play(plan, stack.postgres_origin, hired))


def _started_stack(running: ExitStack, kept: Path) -> LocalStack:
    from daemon.cli.local_start import prepare
    from daemon.local.stack import LocalStack

    stack = running.enter_context(LocalStack(kept))
    stack.empty_database(DATABASE)
    prepare(stack.environment(DATABASE))
    return stack


def _ready_workers(
    running: ExitStack, stack: LocalStack, handlers: Path, folder: Path, kept: Path, count: int
) -> tuple[list[LocalWorker], float]:
    from daemon.cli.local_worker import LocalWorker
    from daemon.local.stack import free_port

    began = time.monotonic()
    hired: list[LocalWorker] = []
    for number in range(1, count + 1):
        environment = {
            **stack.environment(DATABASE),
            "HEADCOUNT_HANDLERS": "handlers",
            "HEADCOUNT_HANDLERS_PATH": str(handlers),
            "HEADCOUNT_HTTP_HOST": "127.0.0.1",
            "HEADCOUNT_HTTP_PORT": str(free_port()),
        }
        hired.append(running.enter_context(LocalWorker(environment, folder, kept / f"worker-{number}.log")))
    for worker in hired:
        worker.wait_ready()
    return hired, time.monotonic() - began


def _handlers_folder() -> Path:
    """Where this repository's handlers are: beside the package, or here."""
    for place in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (place / HANDLER).is_file():
            return place
    problem = f"The demo runs the handlers of Headcount's own repository, and there is no {HANDLER} here."
    raise StartupError(problem, CLONE)


def _tell(plan: Plan, played: Played, as_json: bool) -> None:
    from daemon.cli.demo_show import show_played

    if not as_json:
        show_played(plan, played)


def _step(name: str, text: str) -> None:
    echo_err(f"{name:9} {text}")
