"""What the demo does once a worker is ready: two orchestrations, and their events heard by an ordinary subscriber.

Called by `headcount demo`. Everything here is a producer's business: the client, the events topic, the results.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.demo_files import Chosen, choose, manifest_place
from daemon.cli.follow import follow
from daemon.cli.formatting import instance_as_json, rate, split, state_as_json
from daemon.cli.local_worker import LocalWorker
from daemon.client import Client, InstanceResult
from daemon.local import LocalServerError
from daemon.local.listener import Event, Listener
from daemon.orchestration import OrchestrationState
from daemon.settings import load

EVENT_SECONDS = 20.0
MISSING = "a-file-that-does-not-exist"
TAGS = {"demo": "headcount"}


@dataclass(frozen=True)
class Plan:
    """What to work on."""

    folder: Path
    chosen: Chosen
    with_failure: bool
    manifest: Path

    @property
    def paths(self) -> list[str]:
        """One per instance."""
        return [*self.chosen.paths, *([MISSING] if self.with_failure else [])]

    def described(self) -> str:
        """A line about it."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.chosen.passed_over.items())
        extra = ", and one that does not exist" if self.with_failure else ""
        return f"{len(self.chosen.paths)} in {self.folder}{extra}" + (f" (left out: {left_out})" if left_out else "")


@dataclass(frozen=True)
class Played:
    """What came of it."""

    postgres: str
    checksums: OrchestrationState
    successes: list[InstanceResult]
    failures: list[InstanceResult]
    manifest: OrchestrationState
    manifest_result: InstanceResult
    events: list[Event]

    @property
    def went_well(self) -> bool:
        """Whether the demo showed what it is for; failing instances are part of that."""
        return self.manifest_result.error is None

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "postgres": self.postgres,
            "checksums": state_as_json(self.checksums),
            "jobs_per_second": rate(self.checksums),
            "failures": [instance_as_json(one) for one in self.failures],
            "manifest": {**state_as_json(self.manifest), "result": self.manifest_result.result},
            "events": [{"attributes": event.attributes, "data": event.body} for event in self.events],
        }


def planned(folder: Path, here: Path, kept: Path, with_failure: bool) -> Plan:
    """Choose the files, and a place for the manifest."""
    return Plan(folder, choose(folder), with_failure, manifest_place(here, kept))


async def play(plan: Plan, postgres: str, workers: Sequence[LocalWorker]) -> Played:
    """Checksums of all files, then a manifest made of their results."""
    settings = load()
    with Listener(settings.project, settings.topic(settings.events_topic)) as listener:
        async with Client(settings) as client:
            stage = _Stage(client, listener, workers)
            params = [{"path": path} for path in plan.paths]
            checksums, results, first = await stage.run("checksum_file", params, plan.paths)
            successes, failures = split(results)
            entries = [one.result for one in successes]
            order = {"target": str(plan.manifest), "entries": entries}
            manifest, (made,), second = await stage.run("build_manifest", [order], [plan.manifest.name])
            return Played(postgres, checksums, successes, failures, manifest, made, [first, second])


class _Stage:
    """Where orchestrations are played one after the other."""

    def __init__(self, client: Client, listener: Listener, workers: Sequence[LocalWorker]) -> None:
        self._client = client
        self._listener = listener
        self._workers = workers

    async def run(
        self, job: str, params: Sequence[object], names: Sequence[str]
    ) -> tuple[OrchestrationState, list[InstanceResult], Event]:
        """Kick off, follow, hear the event, read the results."""
        begun = await self._client.kick_off(job, params, tags=TAGS)
        state = await follow(self._client, begun.id, label=lambda index: names[index], check=self._check)
        event = await self._event(str(begun.id))
        return state, [one async for one in begun.stream_results()], event

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
