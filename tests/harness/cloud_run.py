"""A local server of the Cloud Run Admin API v2, as far as executions of jobs go, with the messages of Google's library.

Used by the tests of the `cloud_run_job` executor. Executions go on until a test ends them; like the service, it keeps
the variables that one was started with in its template, refuses reserved ones, and takes a moment to cancel.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

State = run_v2.Condition.State


class CloudRunServer:
    """Its jobs, its executions by name in the order of their start, and the errors that its next answers are."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.executions: dict[str, run_v2.Execution] = {}
        self.calls: list[str] = []
        self.errors: dict[str, grpc.StatusCode] = {}
        self.timeouts: list[float] = []
        self.loses_answers = False
        self.address = ""
        self.permissions = {"run.jobs.run", "run.jobs.runWithOverrides"}
        self._numbers = itertools.count(1)

    def variables(self, name: str) -> dict[str, str]:
        """What an execution was started with."""
        return {one.name: one.value for one in self.executions[name].template.containers[0].env}

    def finish(self, name: str, state: int = State.CONDITION_SUCCEEDED, message: str = "") -> None:
        """End an execution."""
        self.executions[name].conditions = [run_v2.Condition(type_="Completed", state=state, message=message)]

    async def run_job(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """RunJob."""
        if request.name not in self.jobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such job")
        override = request.overrides.container_overrides[0]
        if any(one.name.startswith("CLOUD_RUN_") for one in override.env):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "reserved env names were provided")
        name = f"{request.name}/executions/e-{next(self._numbers)}"
        container = run_v2.Container(env=override.env, args=override.args)
        execution = run_v2.Execution(
            name=name,
            job=request.name,
            create_time=datetime.now(UTC),
            task_count=request.overrides.task_count or 1,
            log_uri=f"https://logs.example/{name.rpartition('/')[2]}",
            template=run_v2.TaskTemplate(containers=[container]),
        )
        self.executions[name] = execution
        self.timeouts.append(request.overrides.timeout.total_seconds() if request.overrides.timeout else 0.0)
        if self.loses_answers:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        metadata = any_pb2.Any()
        metadata.Pack(run_v2.Execution.pb(execution))
        return operations_pb2.Operation(name=f"operations/{name}", metadata=metadata)

    async def get_job(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """GetJob."""
        if request.name not in self.jobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such job")
        return run_v2.Job(name=request.name)

    async def iam_permissions(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """TestIamPermissions."""
        granted = [permission for permission in request.permissions if permission in self.permissions]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    async def get_execution(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """GetExecution."""
        if request.name not in self.executions:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such execution")
        return self.executions[request.name]

    async def list_executions(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """ListExecutions, a page of two at a time."""
        names = [name for name, one in self.executions.items() if one.job == request.parent]
        begin = int(request.page_token or 0)
        token = str(begin + 2) if begin + 2 < len(names) else ""
        page = [self.executions[name] for name in names[begin : begin + 2]]
        return run_v2.ListExecutionsResponse(executions=page, next_page_token=token)

    async def cancel_execution(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """CancelExecution."""
        self.finish(request.name, State.CONDITION_FAILED, "it was cancelled")
        return operations_pb2.Operation(name="operations/cancel")


@asynccontextmanager
async def cloud_run_server() -> AsyncIterator[tuple[CloudRunServer, grpc.aio.Channel]]:
    """A server on 127.0.0.1 and a channel to it."""
    behaviour, server = CloudRunServer(), grpc.aio.server()
    tested = iam_policy_pb2.TestIamPermissionsRequest
    jobs = {
        "RunJob": _method(behaviour, behaviour.run_job, run_v2.RunJobRequest),
        "GetJob": _method(behaviour, behaviour.get_job, run_v2.GetJobRequest),
        "TestIamPermissions": _method(behaviour, behaviour.iam_permissions, tested),
    }
    executions = {
        "GetExecution": _method(behaviour, behaviour.get_execution, run_v2.GetExecutionRequest),
        "ListExecutions": _method(behaviour, behaviour.list_executions, run_v2.ListExecutionsRequest),
        "CancelExecution": _method(behaviour, behaviour.cancel_execution, run_v2.CancelExecutionRequest),
    }
    for service, methods in (("Jobs", jobs), ("Executions", executions)):
        name = f"google.cloud.run.v2.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    behaviour.address = f"127.0.0.1:{port}"
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield behaviour, channel
    await server.stop(None)


def _method(
    behaviour: CloudRunServer, call: Callable[[Any, Any], Awaitable[Any]], request_type: Any
) -> grpc.RpcMethodHandler[Any, Any]:
    name = call.__name__

    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        behaviour.calls.append(name)
        code = behaviour.errors.pop(name, None)
        if code is not None:
            await context.abort(code, "as the test wants it")
        return await call(request, context)

    plain = issubclass(request_type, Message)  # of protobuf itself; the others are Google's wrappers
    deserializer = request_type.FromString if plain else request_type.deserialize
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=deserializer, response_serializer=_serialized
    )


def _serialized(message: Any) -> bytes:
    serialized: bytes = (
        message.SerializeToString() if isinstance(message, Message) else type(message).serialize(message)
    )
    return serialized
