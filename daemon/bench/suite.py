"""Which scenarios there are, and running some of them some times.

Called by the command line. It starts the servers once, for all of them, and knows nothing of what is measured.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence

import psutil

from daemon.bench.figures import Bar, Figure, Report, medians
from daemon.bench.measurement import Bench
from daemon.bench.scenarios.fleet import fleet
from daemon.bench.scenarios.kick_off import kick_off
from daemon.bench.scenarios.latency import latency
from daemon.bench.scenarios.long_jobs import long_jobs
from daemon.bench.scenarios.processes import processes
from daemon.bench.scenarios.recovery import recovery
from daemon.bench.scenarios.sizes import big_params, fan_out, history, many_small
from daemon.bench.scenarios.soak import soak
from daemon.bench.scenarios.throughput import throughput, throughput_wide
from daemon.bench.stack import BenchStack
from daemon.bench.worker import BenchFailed

Scenario = Callable[[Bench], Report]

SCENARIOS: dict[str, Scenario] = {
    "throughput": throughput,
    "throughput-wide": throughput_wide,
    "processes": processes,
    "latency": latency,
    "fan-out": fan_out,
    "many-small": many_small,
    "big-params": big_params,
    "history": history,
    "kick-off": kick_off,
    "recovery": recovery,
    "long-jobs": long_jobs,
    "fleet": fleet,
    "soak": soak,
}
QUICK = ("throughput", "latency", "kick-off")


def chosen(only: Sequence[str], quick: bool) -> list[str]:
    """The names to run, in their order; raises KeyError for a name that there is not."""
    for name in only:
        SCENARIOS[name]
    wanted = only or (QUICK if quick else tuple(SCENARIOS))
    return [name for name in SCENARIOS if name in wanted]


def measured(names: Sequence[str], *, quick: bool, runs: int, say: Callable[[str], None]) -> list[Figure]:
    """The medians of all runs. Tells `say` what it does."""
    found: list[Figure] = []
    with BenchStack() as stack:
        say(f"machine: {machine()}")
        say("Postgres: " + ", ".join(f"{name}={value}" for name, value in stack.settings().items()))
        bench = Bench(stack, quick, say)
        for name in names:
            reports = []
            for number in range(1, runs + 1):
                say(f"{name}, run {number} of {runs}" if runs > 1 else name)
                reports.append(_figures(bench, name))
            found += medians(reports)
    return found


def _figures(bench: Bench, name: str) -> list[Figure]:
    """One that fails is a broken promise, and does not take the figures of the others with it."""
    try:
        return SCENARIOS[name](bench).figures
    except BenchFailed as error:
        bench.say(f"{name}: {error}")
        return [Figure(name, "could not be measured", 1, bar=Bar(at_most=0))]


def machine() -> str:
    """The machine in a line; the servers run on it too."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, servers on the same machine; load before: {load}"
    )
