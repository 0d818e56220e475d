"""Executions of Cloud Run Jobs, by the Cloud Run Admin API v2.

Called by the `cloud_run_job` executor. It retries nothing: an answer that did not come may have taken effect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import grpc.aio
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    PermissionDenied,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud import run_v2
from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest

from daemon.cloud_run_job import CloudRunJob, Execution
from daemon.errors import CloudRunRefused, CloudRunUnavailable, HandlersInvalid

TRANSIENT = (
    Aborted, Cancelled, DeadlineExceeded, InternalServerError, ResourceExhausted, RetryError, ServiceUnavailable,
    Unknown,
)  # fmt: skip
TIMEOUT = 20.0
PERMISSIONS = ("run.jobs.run", "run.jobs.runWithOverrides")
_DONE = (run_v2.Condition.State.CONDITION_SUCCEEDED, run_v2.Condition.State.CONDITION_FAILED)


class Executions:
    """Starts, finds, reads and cancels executions. Every method raises CloudRunUnavailable, or CloudRunRefused.

    Made on the event loop. `channel` is that of another server than Google's.
    """

    def __init__(self, channel: grpc.aio.Channel | None = None) -> None:
        if channel is None:
            self._jobs = run_v2.JobsAsyncClient()
            self._executions = run_v2.ExecutionsAsyncClient()
        else:
            self._jobs = run_v2.JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))
            self._executions = run_v2.ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel))

    async def start(self, job: CloudRunJob, env: Mapping[str, str], timeout: float | None) -> str:
        """Start an execution with these variables besides the job's; its tasks may take `timeout` seconds. Its name."""
        variables = [run_v2.EnvVar(name=name, value=value) for name, value in {**env, **job.env}.items()]
        container = run_v2.RunJobRequest.Overrides.ContainerOverride(
            name=job.container, args=job.args or [], clear_args=job.args == [], env=variables
        )
        limit = None if timeout is None else timedelta(seconds=timeout)
        overrides = run_v2.RunJobRequest.Overrides(
            container_overrides=[container], task_count=job.tasks or 0, timeout=limit
        )
        try:
            operation = await self._jobs.run_job(
                run_v2.RunJobRequest(name=job.name, overrides=overrides), retry=None, timeout=TIMEOUT
            )
        except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
            raise _translated(error, job.name) from error
        name: str = operation.metadata.name
        return name

    async def get(self, name: str) -> Execution | None:
        """How an execution stands; None when it does not exist any more."""
        try:
            return _execution(await self._executions.get_execution(name=name, retry=None, timeout=TIMEOUT))
        except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
            if getattr(error, "code", None) == 404:
                return None
            raise _translated(error, name) from error

    async def find(self, job: CloudRunJob, variable: str, value: str) -> Execution | None:
        """The newest execution that was started with this variable and goes on or has succeeded; None without one.

        Executions can be given neither a name nor a label when they are started, and can't be searched: what tells
        them apart is the variables that they were started with, which are in the template of each.
        """
        found: list[run_v2.Execution] = []
        try:
            async for execution in await self._executions.list_executions(parent=job.name, retry=None, timeout=TIMEOUT):
                variables = (one for container in execution.template.containers for one in container.env)
                if any(one.name == variable and one.value == value for one in variables):
                    found.append(execution)
        except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
            raise _translated(error, job.name) from error
        newest_first = sorted(found, key=lambda one: run_v2.Execution.pb(one).create_time.ToNanoseconds(), reverse=True)
        usable = (one for one in map(_execution, newest_first) if one.succeeded or not one.is_done)
        return next(usable, None)

    async def cancel(self, name: str) -> None:
        """Ask for the end of an execution; it takes some seconds."""
        try:
            await self._executions.cancel_execution(name=name, retry=None, timeout=TIMEOUT)
        except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
            raise _translated(error, name) from error

    async def missing_permissions(self, name: str) -> list[str]:
        """What of PERMISSIONS on a Cloud Run Job this account lacks. Raises CloudRunRefused if there is no such job."""
        request = TestIamPermissionsRequest(resource=name, permissions=PERMISSIONS)
        try:
            with suppress(PermissionDenied):  # who may execute it need not be allowed to see it
                await self._jobs.get_job(name=name, retry=None, timeout=TIMEOUT)
            answer = await self._jobs.test_iam_permissions(request, retry=None, timeout=TIMEOUT)
        except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
            raise _translated(error, name) from error
        return [permission for permission in PERMISSIONS if permission not in answer.permissions]

    async def close(self) -> None:
        """Close the connections."""
        await self._jobs.transport.close()  # type: ignore[no-untyped-call]  # the library's is not annotated
        await self._executions.transport.close()  # type: ignore[no-untyped-call]


def connect() -> Executions:
    """A client of Google's service, with the account that is found here. Raises HandlersInvalid when there is none.

    Where CLOUD_RUN_EMULATOR_HOST is set ("host:port"), that server is asked instead, in plain text and without one.
    """
    if emulator := os.environ.get("CLOUD_RUN_EMULATOR_HOST"):
        return Executions(grpc.aio.insecure_channel(emulator))
    try:
        return Executions()
    except GoogleAuthError as error:
        text = f"Handlers with executor='cloud_run_job' need an account of Google Cloud: {error}."
        raise HandlersInvalid(text, "gcloud auth application-default login") from error


def _execution(found: run_v2.Execution) -> Execution:
    completed = next((one for one in found.conditions if one.type_ == "Completed"), run_v2.Condition())
    return Execution(
        found.name,
        is_done=completed.state in _DONE,
        succeeded=completed.state == run_v2.Condition.State.CONDITION_SUCCEEDED,
        message=completed.message,
        log_uri=found.log_uri,
        tasks=found.task_count,
        tasks_succeeded=found.succeeded_count,
    )


def _translated(error: Exception, name: str) -> CloudRunUnavailable | CloudRunRefused:
    text = f"{name}: {getattr(error, 'message', '') or type(error).__name__}"
    if isinstance(error, (*TRANSIENT, GoogleAuthError)):
        return CloudRunUnavailable(text)
    return CloudRunRefused(text)
