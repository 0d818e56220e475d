"""The whole examination: which checks are made, in which order.

Called by `headcount doctor`, outside any event loop. A check that can't be made is a finding itself, so one broken part
hides no other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.doctor import deployment, platform, worker
from daemon.doctor.cloud_run import check_cloud_run
from daemon.doctor.database import check_database
from daemon.doctor.finding import Finding, fatal
from daemon.doctor.pubsub import check_pubsub
from daemon.errors import HandlersInvalid
from daemon.registry import Registry, discover
from daemon.settings import Settings

AREAS = ("worker", "database", "pubsub")


@dataclass(frozen=True, slots=True)
class Scope:
    """What to examine: how many instances the pool has, before a deploy or where it runs, and which areas."""

    instances: int = 1
    before_deploy: bool = False
    areas: Collection[str] = AREAS


def examine(settings: Settings, scope: Scope) -> Iterator[Finding]:
    """Everything that is wrong."""
    registry = None
    try:
        registry = discover(settings.packages, settings.handlers_path)
    except HandlersInvalid as error:
        if "worker" in scope.areas:
            why = "A worker does not start without its handlers."
            yield fatal(worker.AREA, error.problem, why, error.fix or "headcount handlers")
    if scope.before_deploy:
        yield from deployment.check_environment(settings, os.environ)
        yield from deployment.check_dockerfile(Path("Dockerfile"))
    if "worker" in scope.areas:
        yield from _worker(settings, registry, here=not scope.before_deploy)
    if "database" in scope.areas:
        yield from check_database(settings, scope.instances, None if registry is None else registry.names)
    if "pubsub" in scope.areas:
        names = registry.names if registry is not None else ()
        longest = max((handler.timeout or 0.0 for handler in registry or ()), default=0.0)
        yield from asyncio.run(check_pubsub(settings, names, longest))


def _worker(settings: Settings, registry: Registry | None, *, here: bool) -> Iterator[Finding]:
    yield from worker.check_packages()
    yield from worker.check_tracing(os.environ)
    yield from worker.check_times(settings)
    if registry is not None:
        yield from worker.check_handlers(registry, settings)
        yield from check_cloud_run(registry)
    if here:
        yield from worker.check_port(settings)
        yield from platform.check_signals()
        yield from platform.check_memory(settings, registry or ())
