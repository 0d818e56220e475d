"""What the demo does once a worker is ready: a job per file, a manifest of their results, and the events of both.

Called by `headcount demo`. Everything here is a producer's business: the client, the events topic, the results. It
opens no file but an older manifest: whether a file can be read is the job's business.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.cli.follow import follow
from daemon.cli.formatting import instance_as_json, rate, split, state_as_json
from daemon.cli.local import LocalWorker
from daemon.client import Client
from daemon.local import LocalServerError
from daemon.local.listener import Event, Listener
from daemon.orchestration import InstanceResult, OrchestrationState
from daemon.settings import load

EVENT_SECONDS = 20.0
LARGEST = 256 * 1024 * 1024
MOST = 10_000
SKIPPED = {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".headcount", "build", "dist"}
MANIFEST = "manifest.json"
MISSING = "a-file-that-does-not-exist"
TAGS = {"demo": "headcount"}


@dataclass
class Files:
    """Paths relative to the folder, and why others were skipped: reason -> how many."""

    paths: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Plan:
    """What to work on."""

    folder: Path
    files: Files
    with_failure: bool
    manifest: Path

    @property
    def paths(self) -> list[str]:
        """One per instance."""
        return [*self.files.paths, *([MISSING] if self.with_failure else [])]

    def described(self) -> str:
        """A line about it."""
        skipped = ", ".join(f"{count} {reason}" for reason, count in self.files.skipped.items())
        extra = ", and one that does not exist" if self.with_failure else ""
        return f"{len(self.files.paths)} in {self.folder}{extra}" + (f" (left out: {skipped})" if skipped else "")


@dataclass(frozen=True)
class Demonstration:
    """What came of it."""

    postgres: str
    checksums: OrchestrationState
    successes: list[InstanceResult]
    failures: list[InstanceResult]
    manifest: OrchestrationState
    manifest_result: InstanceResult
    events: list[Event]

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "postgres": self.postgres,
            "checksums": state_as_json(self.checksums),
            "jobs_per_second": rate(self.checksums),
            "failures": [instance_as_json(failure) for failure in self.failures],
            "manifest": {**state_as_json(self.manifest), "result": self.manifest_result.result},
            "events": [{"attributes": event.attributes, "data": event.body} for event in self.events],
        }


def make_plan(folder: Path, here: Path, data: Path, with_failure: bool) -> Plan:
    """Choose the files, and where the manifest goes."""
    return Plan(folder, choose(folder), with_failure, manifest_path(here, data))


async def demonstrate(plan: Plan, postgres: str, workers: Sequence[LocalWorker]) -> Demonstration:
    """Checksums of all files, then a manifest made of their results."""
    settings = load()
    with Listener(settings.project, settings.topic(settings.events_topic)) as listener:
        async with Client(settings) as client:
            producer = _Producer(client, listener, workers)
            params = [{"path": path} for path in plan.paths]
            checksums, results, first = await producer.run("checksum_file", params, plan.paths)
            successes, failures = split(results)
            order = {"target": str(plan.manifest), "entries": [success.result for success in successes]}
            manifest, (written,), second = await producer.run("build_manifest", [order], [plan.manifest.name])
            return Demonstration(postgres, checksums, successes, failures, manifest, written, [first, second])


class _Producer:
    """Runs one orchestration after the other."""

    def __init__(self, client: Client, listener: Listener, workers: Sequence[LocalWorker]) -> None:
        self._client = client
        self._listener = listener
        self._workers = workers

    async def run(
        self, job: str, params: Sequence[object], names: Sequence[str]
    ) -> tuple[OrchestrationState, list[InstanceResult], Event]:
        """Kick off, follow, receive the event, read the results."""
        begun = await self._client.kick_off(job, params, tags=TAGS)
        state = await follow(self._client, begun.id, label=lambda index: names[index], check=self._check)
        event = await self._event(str(begun.id))
        return state, [result async for result in begun.stream_results()], event

    def _check(self) -> None:
        for worker in self._workers:
            worker.check()

    async def _event(self, orchestration_id: str) -> Event:
        until = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < until:
            if heard := self._listener.heard("orchestration_id", orchestration_id):
                return heard[0]
            self._check()
            await asyncio.sleep(0.02)
        raise LocalServerError(f"No JobCompleted of orchestration {orchestration_id} came in {EVENT_SECONDS:.0f} s.")


def choose(folder: Path, largest: int = LARGEST, most: int = MOST) -> Files:
    """The ordinary files below a folder, sorted by their paths, without caches and version control."""
    files = Files()
    for path in _walk(folder):
        if len(files.paths) == most:
            files.skipped[f"beyond the first {most}"] += 1
            break
        reason = _objection(path, folder, largest)
        if reason is None:
            files.paths.append(str(path.relative_to(folder)))
        elif reason:
            files.skipped[reason] += 1
    return files


def manifest_path(here: Path, data: Path) -> Path:
    """`manifest.json` here; in the data folder if that would overwrite somebody else's, or can't be written."""
    path = here / MANIFEST
    writable = os.access(here, os.W_OK)
    return path if writable and (not os.path.lexists(path) or _is_ours(path)) else data / MANIFEST


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        kept = (name for name in folders if name not in SKIPPED and not name.endswith(("_cache", ".egg-info")))
        folders[:] = sorted(kept)
        yield from (Path(root, name) for name in sorted(files))


def _objection(path: Path, folder: Path, largest: int) -> str | None:
    """Why a file is skipped; "" when that is not worth reporting."""
    try:
        facts = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(facts.st_mode):
        return "not a regular file" if not stat.S_ISLNK(facts.st_mode) else ""
    if path == folder / MANIFEST and _is_ours(path):
        return ""
    if facts.st_size > largest:
        return f"larger than {largest >> 20} MiB"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "name is not UTF-8, which JSON requires"
    return None


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() == {"files", "bytes", "entries"}
