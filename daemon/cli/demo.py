"""`headcount demo`: everything at work on this machine in some seconds, with no cloud and no account.

Called by a newcomer. It starts real servers and a real `headcount run`; what it then does (in `demo_jobs`) any producer
could do. It stops all of it at the end, and when it is interrupted.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.formatting import COLOURS, rate, show_failures, show_successes
from daemon.cli.options import AsJson
from daemon.cli.output import Exit, echo, echo_err, echo_json, show_panel, spinner
from daemon.errors import StartupError

if TYPE_CHECKING:
    from daemon.cli.demo_jobs import Demonstration, Plan
    from daemon.cli.local import LocalWorker
    from daemon.local.stack import LocalStack

DATABASE = "demo"
HANDLER = Path("handlers") / "checksum_file.py"
HANDLERS = "handlers.checksum_file,handlers.build_manifest"  # the others have processes of their own
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
    from daemon.cli.local import end_like_ctrl_c
    from daemon.local.stack import home

    began = time.monotonic()
    end_like_ctrl_c()
    try:
        with ExitStack() as running:
            plan, shown = _perform(running, folder.resolve(), home() / "demo", with_failure, workers)
            if not as_json:
                _show(plan, shown)
    except KeyboardInterrupt:
        echo_err("interrupted; everything is stopped")
        raise
    seconds = time.monotonic() - began
    if as_json:
        echo_json({**shown.as_json(), "seconds": round(seconds, 2)})
    echo_err(f"all servers and workers are stopped; the whole demo took {seconds:.1f} s")
    raise typer.Exit(Exit.FAILED if shown.manifest_result.error else Exit.OK)


def _perform(
    running: ExitStack, folder: Path, data: Path, with_failure: bool, count: int
) -> tuple[Plan, Demonstration]:
    """Start everything into `running`, then run the jobs."""
    import asyncio

    from daemon.cli.local import prepare
    from daemon.local.stack import LocalStack

    handlers = _handlers_folder()
    with spinner("Postgres and Pub/Sub are starting"):
        stack = running.enter_context(LocalStack(data))
        stack.empty_database(DATABASE)
        prepare(stack.environment(DATABASE))
    echo_err(f"Postgres  {stack.postgres_origin}")
    echo_err(
        f"Pub/Sub   {stack.pubsub_address}, Headcount's own server for tests and demos; Google's client talks to it"
    )
    began = time.monotonic()
    with spinner("the workers are starting"):
        workers = _start_workers(running, stack, handlers, folder, data, count)
    logs = ", ".join(str(worker.log) for worker in workers)
    echo_err(f"Worker    {count} x `headcount run`, ready after {time.monotonic() - began:.1f} s; log: {logs}")

    from daemon.cli.demo_jobs import demonstrate, make_plan

    plan = make_plan(folder, Path.cwd(), data, with_failure)
    echo_err(f"Files     {plan.described()}")
    return plan, asyncio.run(demonstrate(plan, stack.postgres_origin, workers))


def _start_workers(
    running: ExitStack, stack: LocalStack, handlers: Path, folder: Path, data: Path, count: int
) -> list[LocalWorker]:
    from daemon.cli.local import LocalWorker
    from daemon.local.stack import free_port

    workers: list[LocalWorker] = []
    for number in range(1, count + 1):
        environment = {
            **stack.environment(DATABASE),
            "HEADCOUNT_HANDLERS": HANDLERS,
            "HEADCOUNT_HANDLERS_PATH": str(handlers),
            "HEADCOUNT_HTTP_HOST": "127.0.0.1",
            "HEADCOUNT_HTTP_PORT": str(free_port()),
        }
        worker = LocalWorker(environment, folder, data / f"worker-{number}.log")
        running.callback(worker.stop)
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.wait_ready()
    return workers


def _handlers_folder() -> Path:
    """Where this repository's handlers are: beside the package, or here."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / HANDLER).is_file():
            return folder
    problem = f"The demo runs the handlers of Headcount's own repository, and there is no {HANDLER} here."
    raise StartupError(problem, CLONE)


def _show(plan: Plan, shown: Demonstration) -> None:
    """The events, some results, all failures, and how fast it was."""
    for event in shown.events:
        title = f"{event.attributes.get('event_type', 'event')}, as an ordinary subscriber received it"
        show_panel(title, sorted(event.attributes.items()), event.body)
    if shown.successes:
        show_successes(shown.successes)
    if shown.failures:
        show_failures(shown.failures)
    state = shown.checksums
    outcome = state.outcome.value if state.outcome else "InProgress"
    counts = f"{state.completed} Completed, {state.errored} Errored"
    echo(f"{outcome}: {state.total} instances of {state.job_name}, {counts}", style=COLOURS.get(outcome))
    speed = rate(state)
    if speed is not None and state.completed_at is not None:
        seconds = (state.completed_at - state.created_at).total_seconds()
        echo(f"{state.total} jobs in {seconds:.2f} s: {speed:.0f} jobs/s, from the kick-off to the last one in")
    error = shown.manifest_result.error
    if error is None:
        echo(f"{len(shown.successes)} checksums are in {plan.manifest}")
    else:
        echo(f"the manifest was not written: {error.message}", style="red")
