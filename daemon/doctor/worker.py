"""Whether a worker started here would run: its handlers, packages, port, signals and memory.

Called by `examination` in the environment (image, limits, variables) that the worker will have. It imports the
handlers, as a worker does, and starts nothing.
"""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec

from daemon.doctor.finding import Finding, advice, fatal, loses_work
from daemon.registry import Handler
from daemon.settings import Settings
from daemon.telemetry.tracing import EXTRA, wanted

AREA = "worker"
OURS = "headcount"
SHADOW = "python-daemon"
LONGEST_LEASE = 7 * 86_400.0


def check_handlers(handlers: Iterable[Handler], settings: Settings) -> Iterator[Finding]:
    """Handlers whose times don't fit the leases and the drain."""
    for handler in handlers:
        named = f"The handler {handler.name} ({handler.location})"
        if handler.timeout is None:
            fix = f'@job("{handler.name}", timeout=timedelta(hours=1))'
            why = "An attempt that hangs holds its slot until the worker ends."
            yield advice(AREA, f"{named} has no timeout.", why, fix)
        elif handler.timeout > LONGEST_LEASE:
            what = f"{named} may run for {handler.timeout / 86_400:.0f} days."
            why = "A message is leased for 7 days at most: after that the job is delivered again while it runs."
            yield loses_work(AREA, what, why, f'@job("{handler.name}", timeout=timedelta(days=7))')
        elif handler.timeout > settings.drain_seconds and not handler.wants_context:
            what = f"{named} takes no context and may run for {handler.timeout:g} s."
            why = f"A stop gives it {settings.drain_seconds:g} s and can't tell it: at every rollout it begins again."
            yield advice(AREA, what, why, "def handler(params, ctx: JobContext): ... ctx.should_stop, await ctx.save()")


def check_times(settings: Settings) -> Iterator[Finding]:
    """Settings that fit badly together."""
    if settings.lease_seconds < settings.worker_ttl_seconds:
        lease, ttl = settings.lease_seconds, settings.worker_ttl_seconds
        what = f"The lease ({lease:g} s) is shorter than worker_ttl ({ttl:g} s)."
        why = "Messages of a lost worker come back before its jobs may be taken from it, and are spent for nothing."
        yield advice(AREA, what, why, f"export HEADCOUNT_LEASE_SECONDS={max(60, ttl):g}")


def check_packages() -> Iterator[Finding]:
    """Another distribution's `daemon` package, and dependencies that are not there."""
    shadows = [found for found in distributions() if found.name.lower().replace("_", "-") == SHADOW]
    if shadows:
        what = f"The distribution {SHADOW} {shadows[0].version} is installed beside Headcount."
        why = "It also ships a package named `daemon` and overwrites parts of ours silently."
        fix = f"pip uninstall --yes {SHADOW} && pip install --force-reinstall --no-deps {OURS}"
        yield fatal(AREA, what, why, fix)
    try:
        ours = distribution(OURS)
    except PackageNotFoundError:
        return  # run from its sources: what is missing shows itself at once
    if missing := list(_missing(ours)):
        what = f"Packages that Headcount needs are not installed: {', '.join(missing)}."
        yield fatal(AREA, what, "The worker ends with an ImportError, at once or at some job.", f"pip install {OURS}")


def _missing(ours: Distribution) -> Iterator[str]:
    for requirement in ours.requires or ():
        name, _, marker = requirement.partition(";")
        if "extra" in marker or "sys_platform" in marker:
            continue
        bare = re.split(r"[\s\[<>=!~]", name.strip(), maxsplit=1)[0]
        try:
            distribution(bare)
        except PackageNotFoundError:
            yield bare


def check_tracing(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the exporter is there when the environment asks for traces."""
    try:
        there = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        there = False
    if wanted(environment) and not there:
        what = "The environment (OTEL_*) asks for traces, and the exporter is not installed."
        yield fatal(AREA, what, "The worker refuses to start rather than to lose them.", EXTRA)


def check_port(settings: Settings) -> Iterator[Finding]:
    """Whether the health port is free, or taken by a worker of ours."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.http_host, settings.http_port))
        except OSError as error:
            if _is_ours(settings.http_port):
                return
            what = f"The health port {settings.http_host}:{settings.http_port} cannot be bound: {error.strerror}."
            fix = f"export HEADCOUNT_HTTP_PORT={settings.http_port + 1}"
            yield fatal(AREA, what, "The worker refuses to start without its probes and metrics.", fix)


def _is_ours(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/startupz", timeout=1) as answer:
            return "problems" in json.loads(answer.read(10_000))
    except urllib.error.HTTPError as refused:
        return refused.headers.get("Server", "").startswith(OURS)
    except (OSError, ValueError):
        return False
