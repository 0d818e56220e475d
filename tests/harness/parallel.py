"""How tests are spread over the processes of one run (`make test` starts several): what may run beside what.

Loaded by tests/conftest.py. It decides by what a test uses and how it is marked, never by its name: a test goes
anywhere, unless it shares something that is made once for a file; and a test marked `alone` has the machine to itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

# Tests wait more than they work, so there are more processes than processors; each one starts servers of its own.
PROCESSES_PER_PROCESSOR = 2
MOST_PROCESSES = 8

SHARED_SCOPES = ("class", "module", "package")
ALONE, LONG = "alone", "long"
GROUPS = "groups.json"
FOLDER = pytest.StashKey[Path]()

# What waits longest starts first, so that no long test is left for the end, when there is nothing to run beside it.
FOLDERS_BY_LENGTH = ("system", "contract", "chaos", "postgres", "property", "model")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` starts; none for tests that were named one by one, which are few."""
    if config.args and all("::" in argument for argument in config.args):
        return 0
    return min(PROCESSES_PER_PROCESSOR * (os.cpu_count() or 1), MOST_PROCESSES)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Gives each process the next group that nobody has, as soon as it is free."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def schedule(self) -> None:
            # Only the processes that run tests collect them; each has written down the same.
            self.groups: dict[str, str] = json.loads((_folder_of_the_run(config) / GROUPS).read_text())
            super().schedule()

        def _split_scope(self, nodeid: str) -> str:
            return self.groups.get(nodeid, nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts those that wait longest first, and writes down the groups for the process that gives them out."""
    items.sort(key=_sort_key)
    if hasattr(config, "workerinput"):
        groups = {item.nodeid: name for item in items if (name := group(item))}
        own = _folder_of_the_run(config) / f"{GROUPS}.{os.getpid()}"
        own.write_text(json.dumps(groups))
        own.replace(own.with_name(GROUPS))


def group(item: pytest.Item) -> str | None:
    """The tests that `item` has to share a process with: "alone", those of its file, or None for none."""
    if item.get_closest_marker(ALONE):
        return ALONE
    definitions = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
    shared = any(definition[-1].scope in SHARED_SCOPES for definition in definitions if definition)
    return item.nodeid.partition("::")[0] if shared else None


def _sort_key(item: pytest.Item) -> tuple[bool, bool, int]:
    """Where a test stands in the run: long ones first; those that are `alone` last, when most processes have ended."""
    folder = item.nodeid.removeprefix("tests/").partition("/")[0]
    known = folder in FOLDERS_BY_LENGTH
    is_alone = item.get_closest_marker(ALONE) is not None
    is_short = item.get_closest_marker(LONG) is None
    return is_alone, is_short, FOLDERS_BY_LENGTH.index(folder) if known else len(FOLDERS_BY_LENGTH)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around all of a test, its fixtures and its time limit: one that is `alone` waits until no other is under way."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with _admitted(_folder_of_the_run(item.config), alone=item.get_closest_marker(ALONE) is not None):
        return (yield)


@contextmanager
def _admitted(folder: Path, *, alone: bool) -> Iterator[None]:
    """Many at a time, or one alone. Who waits for the room holds the door shut, so that nobody overtakes it."""
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # closing is not enough: a process that the test has left holds it too


def _folder_of_the_run(config: pytest.Config) -> Path:
    """Of all processes of one run: made by the one that gives out the tests, and named to the others."""
    if hasattr(config, "workerinput"):
        return Path(config.workerinput["folder"])
    if FOLDER not in config.stash:
        config.stash[FOLDER] = Path(tempfile.mkdtemp(prefix="headcount-run-"))
    return config.stash[FOLDER]


def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["folder"] = str(_folder_of_the_run(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    if FOLDER in config.stash:
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)
