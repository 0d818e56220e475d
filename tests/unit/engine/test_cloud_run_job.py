"""Executions of Cloud Run Jobs, started, followed, found again and cancelled: Google's client, a local server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest

from daemon.cloud_run_job import CloudRunJob
from daemon.cloudrun.executions import Executions
from daemon.engine.attempt import Attempt
from daemon.engine.executors.cloud_run_job import VARIABLE_LIMIT, CloudRunJobExecutor
from daemon.engine.runner import HandlerRunner
from daemon.errors import HandlersInvalid
from daemon.job import Claim, Failed, Interrupted, Kind, Progress, Result, Returned, StopReason
from tests.fakes.delivery import CLAIM, JOB, ORCHESTRATION, a_claim, a_handler
from tests.harness.cloud_run import CloudRunServer, State, cloud_run_server
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded, failure

RENDER = "projects/p/locations/europe-west1/jobs/render"


@dataclass
class Scene:
    """A server with one job, the channel to it, and what attempts have recorded."""

    server: CloudRunServer
    channel: grpc.aio.Channel
    recorder: Recorded

    def attempt(
        self, claim: Claim = CLAIM, attempt: Attempt | None = None, job: CloudRunJob | None = None, **terms: object
    ) -> asyncio.Task[Result]:
        """An attempt under way."""

        def render(params: dict[str, object]) -> CloudRunJob:
            return job or CloudRunJob(RENDER)

        executor = CloudRunJobExecutor(100_000, self.recorder, Executions(self.channel), first_poll=0.01)
        runner = HandlerRunner(self.recorder, {"cloud_run_job": executor})
        attempt = attempt or Attempt(JOB)
        attempt.claimed(claim)
        return asyncio.create_task(runner.run(claim, a_handler(render, executor="cloud_run_job", **terms), attempt))

    async def started(self, count: int = 1) -> str:
        """The name of the newest execution, once so many were started and the last one's name is stored."""
        await until(lambda: len(self.recorder.saved) >= count)
        return list(self.server.executions)[-1]

    @property
    def checkpoint(self) -> str:
        return self.recorder.saved[-1]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with cloud_run_server() as (server, channel):
        server.jobs.add(RENDER)
        yield Scene(server, channel, Recorded())


async def test_an_execution_is_given_its_job_by_variables_and_its_success_completes_the_job(scene: Scene) -> None:
    job = CloudRunJob(RENDER, args=["--fast"], env={"COLOUR": "red"}, tasks=3)
    claim = a_claim(params='{"scene":"ä"}', index=2, count=5, failures=1)
    task = scene.attempt(claim, job=job, timeout=600)
    name = await scene.started()
    assert scene.server.variables(name) == {
        "JOB_NAME": "paint",
        "JOB_ID": str(JOB),
        "ORCHESTRATION_ID": str(ORCHESTRATION),
        "JOB_INDEX": "2",
        "JOB_COUNT": "5",
        "JOB_FAILURES": "1",
        "JOB_PARAMS": '{"scene":"ä"}',
        "COLOUR": "red",
    }
    assert list(scene.server.executions[name].template.containers[0].args) == ["--fast"]
    assert scene.server.timeouts == [600.0]
    scene.server.executions[name].succeeded_count = 2
    await until(lambda: Progress(2.0, 3.0, None) in scene.recorder.progressed)
    scene.server.finish(name)
    result = await task
    assert isinstance(result, Returned)
    assert json.loads(result.result) == {"execution": name, "log_uri": "https://logs.example/e-1"}


async def test_an_execution_that_fails_is_a_failure_and_the_next_attempt_starts_another(scene: Scene) -> None:
    task = scene.attempt()
    scene.server.finish(await scene.started(), State.CONDITION_FAILED, "Task e-1-task0 failed with exit code 3")
    error = failure(await task, Kind.EXITED)
    assert error.message == (
        "execution e-1: Task e-1-task0 failed with exit code 3 (its log: https://logs.example/e-1)"
    )
    again = scene.attempt(a_claim(attempt=2, failures=1, checkpoint=scene.checkpoint))
    scene.server.finish(await scene.started(2))
    assert isinstance(await again, Returned)
    assert len(scene.server.executions) == 2


@pytest.mark.parametrize("reason", [StopReason.DRAINING, StopReason.CLAIM_LOST])
async def test_an_execution_outlives_its_worker_and_the_next_attempt_follows_it(
    scene: Scene, reason: StopReason
) -> None:
    attempt = Attempt(JOB)
    task = scene.attempt(attempt=attempt)
    name = await scene.started()
    attempt.cancel(reason)
    assert await task == Interrupted(reason)
    again = scene.attempt(a_claim(attempt=2, checkpoint=scene.checkpoint))
    await until(lambda: scene.server.calls.count("get_execution") > 3)
    scene.server.finish(name)
    assert isinstance(await again, Returned)
    assert list(scene.server.executions) == [name]
    assert "list_executions" not in scene.server.calls


@pytest.mark.parametrize("meanwhile", ["goes on", "succeeded", "failed"])
async def test_an_execution_whose_start_was_not_answered_is_found_by_its_variables(
    scene: Scene, meanwhile: str
) -> None:
    for other in range(5):
        claim = a_claim(job_id=ORCHESTRATION, index=other)
        await Executions(scene.channel).start(CloudRunJob(RENDER), {"JOB_ID": str(claim.job_id)}, None)
    scene.server.loses_answers = True
    failure(await scene.attempt(), Kind.RAISED)
    scene.server.loses_answers = False
    name = list(scene.server.executions)[-1]
    if meanwhile != "goes on":
        scene.server.finish(name, State.CONDITION_SUCCEEDED if meanwhile == "succeeded" else State.CONDITION_FAILED)
    again = scene.attempt(a_claim(attempt=2, failures=1))
    if meanwhile == "failed":
        scene.server.finish(await scene.started())
    else:
        await until(lambda: "get_execution" in scene.server.calls or again.done())
        scene.server.finish(name)
    assert isinstance(await again, Returned)
    assert len(scene.server.executions) == (7 if meanwhile == "failed" else 6)


@pytest.mark.parametrize("reason", [StopReason.TIMED_OUT, StopReason.ENDED])
async def test_a_timeout_and_a_cancel_end_the_execution_before_the_attempt_ends(
    scene: Scene, reason: StopReason
) -> None:
    attempt = Attempt(JOB)
    task = scene.attempt(attempt=attempt, timeout=1000)
    name = await scene.started()
    attempt.cancel(reason)
    result = await task
    assert scene.server.executions[name].conditions[0].message == "it was cancelled"
    assert isinstance(result, Failed) if reason is StopReason.TIMED_OUT else result == Interrupted(reason)


async def test_an_outage_of_the_service_does_not_end_an_attempt_whose_execution_goes_on(scene: Scene) -> None:
    task = scene.attempt()
    name = await scene.started()
    for _ in range(3):
        scene.server.errors["get_execution"] = grpc.StatusCode.UNAVAILABLE
        await until(lambda: "get_execution" not in scene.server.errors)
    scene.server.finish(name)
    assert isinstance(await task, Returned)


async def test_a_deleted_execution_is_a_failure(scene: Scene) -> None:
    task = scene.attempt()
    del scene.server.executions[await scene.started()]
    assert "it was deleted" in failure(await task, Kind.EXITED).message


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])
async def test_a_job_that_is_missing_or_may_not_be_executed_fails_for_good_by_name(
    scene: Scene, code: grpc.StatusCode
) -> None:
    scene.server.errors["run_job"] = code
    result = await scene.attempt()
    assert RENDER in failure(result, Kind.NOT_STARTED).message
    assert isinstance(result, Failed)
    assert result.final


async def test_a_service_that_does_not_answer_at_the_start_is_tried_again_by_the_job_s_policy(scene: Scene) -> None:
    scene.server.errors["run_job"] = grpc.StatusCode.UNAVAILABLE
    result = await scene.attempt()
    failure(result, Kind.RAISED)
    assert isinstance(result, Failed)
    assert not result.final


async def test_params_that_no_variable_can_hold_fail_for_good(scene: Scene) -> None:
    params = json.dumps({"text": "x" * VARIABLE_LIMIT})
    assert "32768" in failure(await scene.attempt(a_claim(params=params)), Kind.NOT_STARTED).message
    assert scene.server.executions == {}


def test_a_worker_without_the_extra_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['google.cloud.run_v2'] = None\n"
    script += "from daemon.service.cloud_run import connect_cloud_run\nconnect_cloud_run()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "Fix it with: pip install 'headcount[cloudrun]'" in ended.stderr


def test_a_name_of_another_form_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="projects/PROJECT"):
        CloudRunJob("render")


async def test_a_handler_that_returns_another_job_than_it_declares_fails_for_good(scene: Scene) -> None:
    declared = RENDER.replace("render", "resize")
    result = await scene.attempt(cloud_run_job=declared)
    assert f"returned {RENDER}, and declares {declared}" in failure(result, Kind.NOT_STARTED).message
    assert scene.server.calls == []
    assert isinstance(await asyncio.wait_for(_completed(scene, cloud_run_job=RENDER), 10), Returned)


async def _completed(scene: Scene, **terms: object) -> Result:
    task = scene.attempt(**terms)
    scene.server.finish(await scene.started())
    return await task


@pytest.mark.parametrize(
    ("executor", "declared", "why"),
    [("cloud_run_job", "render", "is not projects/PROJECT"), ("thread", RENDER, "needs executor='cloud_run_job'")],
)
def test_a_declaration_that_can_not_be_used_is_refused_at_the_start(executor: str, declared: str, why: str) -> None:
    def render(params: dict[str, object]) -> CloudRunJob:
        return CloudRunJob(RENDER)

    with pytest.raises(HandlersInvalid, match=why):
        a_handler(render, executor=executor, cloud_run_job=declared)
