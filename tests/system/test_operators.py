"""What an operator types while jobs run: explain, workers, cancel, retry, republish, verify, rejected, prune."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from daemon.client import Client, Orchestration
from daemon.pubsub.publisher import Publisher
from daemon.rules.messages import instance_id
from daemon.settings import Settings, load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.commands import asked, typed, with_handlers

HANDLERS = '''
"""Handlers for operators' tests."""
import asyncio
from pathlib import Path

from daemon import Backoff, JobContext, job


@job("wait_for", max_attempts=1)
async def wait_for(params: dict, ctx: JobContext) -> dict:
    await ctx.progress(1, 2, "waiting for the file")
    while not Path(params["file"]).exists():
        await asyncio.sleep(0.02)
    return {"seen": True}


@job("fail_until", max_attempts=2, retry=Backoff(initial=300, maximum=300, jitter=False))
def fail_until(params: dict) -> dict:
    if not Path(params["file"]).exists():
        raise ValueError("the file is not there")
    return {"seen": True}
'''


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    """Settings of this test's worker and commands, its topics provisioned, its handlers written."""
    return with_handlers(HANDLERS, tmp_path, database_url, project, pubsub, worker_ttl_seconds=6, slots=4)


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as made:
        yield made


def settings_of(environment: dict[str, str]) -> Settings:
    return load(environment)


def verdicts(environment: dict[str, str], orchestration_id: UUID) -> dict[str, int]:
    shown = asked("explain", str(orchestration_id), "--json", environment=environment)
    return {one["verdict"]: one["count"] for one in shown["verdicts"]}


async def finished(orchestration: Orchestration) -> Any:
    return await orchestration.wait(20)


@pytest.mark.long
async def test_explain_names_every_reason_why_an_orchestration_is_not_finished(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    started = await client.kick_off("wait_for", [{"file": str(gate)}] * 6)
    assert verdicts(environment, started.id) == {"QUEUED_NO_WORKER": 6}
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        await until(lambda: verdicts(environment, started.id) == {"RUNNING": 4, "MESSAGE_OUTSTANDING": 2}, within=20)
        shown = typed("explain", str(started.id), environment=environment).stdout
        assert "waiting for the file" in shown
        assert "heartbeat" in shown
        fleet = asked("workers", "--json", environment=environment)
        assert [(row["slots"], row["holds"]) for row in fleet] == [(4, 4)]
        worker.kill()
        await until(lambda: verdicts(environment, started.id).get("HELD_BY_DEAD_WORKER") == 4, within=20)


async def test_a_job_that_waits_for_its_retry_is_explained_with_its_history(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    started = await client.kick_off("fail_until", [{"file": str(tmp_path / "gate")}])
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        await until(lambda: verdicts(environment, started.id) == {"WAITING_RETRY": 1}, within=20)
        example = asked("explain", str(started.id), "--json", environment=environment)["verdicts"][0]["examples"][0]
        job = asked("explain", example["id"], "--json", environment=environment)
        assert [(row["attempt"], row["kind"]) for row in job["history"]] == [(1, "Raised")]
        assert "the file is not there" in typed("explain", example["id"], environment=environment).stdout


async def test_cancel_stops_running_handlers_and_closes_what_waits_and_what_never_arrived(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    orchestration_id = uuid4()
    publisher = Publisher()
    common = {"job_name": "wait_for", "orchestration_id": str(orchestration_id), "count": "9"}
    body = json.dumps({"file": str(tmp_path / "never")}).encode()
    settings = settings_of(environment)
    await publisher.publish(
        settings.topic(settings.jobs_topic), [(body, {**common, "index": str(index)}) for index in range(6)]
    )
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        await until(lambda: 'headcount_slots_used{pool="default"} 4.0' in worker.body_of("/metrics"), within=20)
        assert verdicts(environment, orchestration_id)["NOT_YET_ARRIVED"] == 5
        assert asked("cancel", str(orchestration_id), "--json", environment=environment) == {"cancelled": 9}
        state = await finished(client.orchestration(orchestration_id))
        assert (state.completed, state.errored, state.outcome) == (0, 9, "Errored")
        await until(lambda: 'headcount_slots_used{pool="default"} 0.0' in worker.body_of("/metrics"), within=10)
    await publisher.close()
    assert typed("verify", environment=environment).stdout.strip() == "every invariant holds"


async def test_retry_runs_only_the_errored_instances_and_gives_a_second_event(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    started = await client.kick_off("wait_for", [{"file": str(tmp_path)}, {"nothing": 1}])
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        first = await finished(started)
        assert (first.completed, first.errored, first.outcome) == (1, 1, "Partial")
        await until(lambda: "COMPLETE" in verdicts(environment, started.id), within=10)
        gate.touch()
        assert asked("retry", str(started.id), "--json", environment=environment) == {"retried": 1}

        async def again() -> bool:
            state = await client.state(started.id)
            return state.generation == 2 and state.event_published_at is not None

        await until(again, within=20)
    assert typed("verify", environment=environment).returncode == 0


async def test_a_message_that_the_topic_lost_comes_back_by_republish(
    environment: dict[str, str], client: Client, tmp_path: Path, project: str
) -> None:
    started = await client.kick_off("wait_for", [{"file": str(tmp_path)}] * 3)
    from google.cloud.pubsub_v1 import SubscriberClient

    with SubscriberClient() as service:
        path = f"projects/{project}/subscriptions/jobs-worker"
        lost = service.pull(subscription=path, max_messages=10).received_messages
        service.acknowledge(subscription=path, ack_ids=[one.ack_id for one in lost])
    assert len(lost) == 3
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        assert asked("republish", str(started.id), "--json", environment=environment) == {"republished": 3}
        assert (await finished(started)).completed == 3


@pytest.mark.long
async def test_a_rejected_message_is_listed_shown_whole_replayed_and_purged(
    environment: dict[str, str], tmp_path: Path
) -> None:
    publisher, settings = Publisher(), settings_of(environment)
    await publisher.publish(settings.topic(settings.jobs_topic), [(b"\x00\xffno json", {"job_name": "wait_for"})])
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):

        def listed() -> list[dict[str, Any]]:
            lines = typed("rejected", "list", "--json", environment=environment).stdout.splitlines()
            return [json.loads(line) for line in lines]

        (first,) = await until(listed, within=20)
        assert first["reason"] == "InvalidJson"
        shown = asked("rejected", "show", str(first["id"]), "--json", environment=environment)
        assert shown["data"] == "\x00\\xffno json"
        assert shown["attributes"] == {"job_name": "wait_for"}
        typed("rejected", "replay", str(first["id"]), environment=environment)
        await until(lambda: len(listed()) == 2, within=20)
        assert listed()[0]["replayed_at"] is not None
        typed("rejected", "purge", "--older-than", "0s", environment=environment)
        assert listed() == []
    await publisher.close()
    typed("rejected", "show", "999", environment=environment, code=3)


async def test_prune_deletes_what_is_finished_and_keeps_what_is_not(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    done = await client.kick_off("wait_for", [{"file": str(tmp_path)}])
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        await finished(done)
        await until(lambda: "COMPLETE" in verdicts(environment, done.id), within=10)
    waiting = await client.kick_off("wait_for", [{"file": str(tmp_path)}])
    pruned = asked("prune", "--older-than", "0s", "--dangerously-ignore-retention", "--json", environment=environment)
    assert (pruned["pruned"], pruned["jobs"]) == (1, 1)
    typed("status", str(done.id), environment=environment, code=3)
    assert (await client.state(waiting.id)).total == 1


async def test_one_job_is_cancelled_or_completed_by_hand(client: Client, environment: dict[str, str]) -> None:
    made = await client.kick_off("fail_until", [{"file": "/nowhere"}] * 2)
    first, second = (str(instance_id(made.id, index)) for index in range(2))
    assert asked("cancel", first, "--json", environment=environment) == {"cancelled": 1}
    refused = typed("complete", second, "--result", "{", environment=environment, code=2)
    assert "not JSON" in refused.stderr
    assert "1 job completed" in typed("complete", second, "--result", '{"seen": 1}', environment=environment).stdout
    assert "the job had finished" in typed("complete", second, environment=environment).stdout
    successes, failures = await made.results()
    assert [one.result for one in successes] == [{"seen": 1}]
    assert [str(one.error.kind) for one in failures or () if one.error] == ["Cancelled"]
    typed("cancel", str(uuid4()), environment=environment, code=3)
