"""`headcount run`: a worker, in the foreground, until SIGTERM or Ctrl-C.

Called by the platform in production and by `demo` and `dev` on a developer's machine, with nothing that differs but
the environment. It checks what the worker can't run without, and leaves everything else to the service.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from daemon.doctor.finding import Finding
    from daemon.pubsub.resources import Problem
    from daemon.registry import Registry
    from daemon.settings import Settings


def run(
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="How many workers; their ports count up from HEADCOUNT_HTTP_PORT.")
    ] = 1,
) -> None:
    """Run a worker: pull jobs, run their handlers, store the outcomes. Settings come from HEADCOUNT_* variables.

    SIGTERM and Ctrl-C drain it: handlers get HEADCOUNT_DRAIN_SECONDS to end, what remains goes on in another worker.
    """
    import asyncio

    from daemon.registry import discover
    from daemon.settings import load
    from daemon.telemetry.logs import configure

    settings = load()
    configure(settings.log_format, settings.log_level, project=settings.project, own=settings.packages)
    if processes > 1:
        raise typer.Exit(_supervise(processes, settings))
    registry = discover(settings.packages, settings.handlers_path)
    asyncio.run(_check_pubsub(settings, registry))
    _check_database(settings, registry)

    from daemon.service.worker import Worker

    raise typer.Exit(Worker(settings, registry).run())


def _supervise(processes: int, settings: Settings) -> int:
    """Each worker is this very command in a process of its own, and makes its own checks."""
    import structlog

    from daemon.service.processes import Supervisor

    own = ["-P"] if sys.flags.safe_path else []
    log = structlog.get_logger("headcount")
    command = [sys.executable, *own, "-m", "daemon", "run"]
    return Supervisor(
        command,
        processes,
        settings.http_port,
        lambda text, values: log.warning(text, **values),
        has_memory_limit=settings.memory_limit_mib > 0,
    ).run()


async def _check_pubsub(settings: Settings, registry: Registry) -> None:
    """Raises SubscriptionNotReady for what a worker can't run without; logs what it can."""
    from daemon.pubsub.resources import check, desired

    longest = max((handler.timeout or 0.0 for handler in registry), default=0.0)
    problems = await check(desired(settings), longest_timeout=longest, handler_names=registry.names)
    refuse([problem for problem in problems if problem.fatal])
    for problem in problems:
        _warn("the subscription is not as it should be", problem)


def _check_database(settings: Settings, registry: Registry) -> None:
    """Raises DatabaseNotReady for what a worker can't run with; warns of a memory limit that is too small."""
    from daemon.doctor.database import refuse_database
    from daemon.doctor.platform import check_memory

    refuse_database(settings)
    for finding in check_memory(
        settings, registry
    ):  # Cloud Run has no shell for the doctor: only a worker sees its own limit
        _warn("the container is too small for these settings", finding)


def refuse(fatal: list[Problem]) -> None:
    """Raises SubscriptionNotReady with all problems that the first one's command fixes, in one sentence."""
    from daemon.errors import SubscriptionNotReady

    if fatal:
        fix = fatal[0].fix
        first, *others = [problem.what.rstrip(".") for problem in fatal if problem.fix == fix]
        raise SubscriptionNotReady("; ".join([first, *(text[0].lower() + text[1:] for text in others)]) + ".", fix)


def _warn(text: str, problem: Problem | Finding) -> None:
    import structlog

    structlog.get_logger("headcount").warning(text, problem=problem.what, reason=problem.why, fix=problem.fix)
