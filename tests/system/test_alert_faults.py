"""Real faults before the project's own alert rules: what should fire fires, nothing else does, and all of it clears.

Each fleet is a real worker watched by a real Prometheus; the fleets have their faults at the same time, because an
alert mostly waits.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from daemon.local.postgres import EmbeddedPostgres
from daemon.postgres.migrations import upgrade
from tests.harness.databases import TestDatabases
from tests.harness.needs import needs
from tests.system.alert_faults import COMMON, all_that_fire
from tests.system.alert_fleet import USUAL_FACTOR, Fleet
from tests.system.alert_rarities import RARITIES, TTL
from tests.system.prometheus import RULES
from tests.system.quick_rules import DURATION, milliseconds, quickened

PUBLISHER_FACTOR = 30  # a relay that is refused tries again after 5 s at the latest: a window must hold two tries
ROWS_FACTOR = 90  # what looks back an hour stays red for that long
FAULTS = COMMON | RARITIES
FLEETS: dict[str, tuple[str, ...]] = {
    "crash": (
        "none: a worker works",
        "the database is away",
        "the database is away and nobody works",
        "the worker is killed with a job",
    ),
    "idle": ("a message is not delivered for two hours", "a job never ends and fills the only slot"),
    "busy": (
        "jobs fail, hope in vain, are unknown and miss a deadline",
        "a handler blocks the event loop",
        "a stop is held up by a handler",
    ),
    "bus": ("Pub/Sub refuses the events", "a producer breaks the contract"),
    "rows": (
        "a handler ignores its cancel, Postgres refuses a row, Pub/Sub gives a message up",
        "the rows contradict each other and the worker",
    ),
    "streams": (
        "a worker stands still and is declared dead",
        "Pub/Sub forgets leases",
        "Pub/Sub ends every stream",
    ),
}
SETTINGS: dict[str, dict[str, int]] = {
    "crash": {},
    "idle": {"slots": 1},
    "busy": {"unknown_job_grace_seconds": 15},
    "bus": {"factor": PUBLISHER_FACTOR},
    "rows": {"factor": ROWS_FACTOR, "sweep_interval_seconds": 1},
    "streams": {"worker_ttl_seconds": TTL},
}

Trials = dict[str, asyncio.Future[set[str]]]


@pytest.fixture(scope="module")
def crashing_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that a fault may stop, with the schema in its database."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-alerts-"))
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "postgres", tcp_port=0) as server:
        upgrade(server.url())
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def trials(
    request: pytest.FixtureRequest,
    databases: TestDatabases,
    pubsub_server: str,
    crashing_postgres: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Trials]:
    """The alerts that each fault of this run raises, as soon as it is over."""
    needs("prometheus")
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = {one.params["fault"] for one in callspecs if one is not None and "fault" in one.params}
    loop = asyncio.get_running_loop()
    futures: Trials = {name: loop.create_future() for name in FAULTS}
    urls: list[str] = []
    tasks: list[asyncio.Task[None]] = []
    for name, faults in FLEETS.items():
        planned = [fault for fault in faults if fault in chosen]
        if not planned:
            continue
        own = crashing_postgres if name == "crash" else None
        url = own.url(tcp_port=own.tcp_port) if own else databases.migrated()
        urls += [] if own else [url]
        fleet = Fleet(tmp_path_factory.mktemp(name), url, pubsub_server, postgres=own, **SETTINGS[name])
        tasks.append(loop.create_task(try_out(fleet, planned, futures)))
    yield futures
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for url in urls:
        databases.drop(url)


async def try_out(fleet: Fleet, faults: list[str], futures: Trials) -> None:
    """One fault after the other; what goes wrong in one is told to the test of that one, and ends the fleet."""
    waiting = iter(faults)
    name = next(waiting)
    try:
        async with fleet:
            while name:
                futures[name].set_result(await all_that_fire(fleet, FAULTS[name]))
                name = next(waiting, "")
    except Exception as error:
        for left in [name, *waiting]:
            futures[left].set_exception(error)
            futures[left].exception()  # looked at: a test that is not reached need not complain


@pytest.mark.long
@pytest.mark.parametrize("fault", [fault for faults in FLEETS.values() for fault in faults])
async def test_a_fault_raises_its_alerts_and_no_other_and_they_clear_once_it_is_fixed(
    fault: str, trials: Trials
) -> None:
    assert await trials[fault] == FAULTS[fault].shows | FAULTS[fault].leaves


def test_every_fault_is_tried_on_one_fleet() -> None:
    assert sorted(fault for faults in FLEETS.values() for fault in faults) == sorted(FAULTS)


@pytest.mark.parametrize("factor", [USUAL_FACTOR, PUBLISHER_FACTOR, ROWS_FACTOR])
def test_quicker_rules_differ_in_nothing_but_how_long_they_wait_and_look_back(factor: int) -> None:
    plain = RULES.read_text()
    quick = quickened(plain, factor)
    assert DURATION.sub("", quick) == DURATION.sub("", plain)
    slow, fast = ([milliseconds(one) for one in DURATION.finditer(text)] for text in (plain, quick))
    assert [duration // factor for duration in slow] == fast
    assert min(fast) > 0
    waits = [rule["for"] for group in yaml.safe_load(plain)["groups"] for rule in group["rules"] if "for" in rule]
    ranges = re.findall(r"\[\d+\w+\]|offset \d+\w+", plain)
    assert len(slow) == len(waits) + len(ranges), "a duration of the rules was overlooked"


def test_prometheus_takes_the_quicker_rules(tmp_path: Path) -> None:
    promtool = needs("promtool")
    path = tmp_path / "quick.yml"
    path.write_text(quickened(RULES.read_text(), USUAL_FACTOR))
    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
