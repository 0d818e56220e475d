"""RpcError: the one exception of this server, an answer that is a gRPC status.

Raised anywhere below the RPCs, turned into the call's status by `server.guarded` and by the end of a stream.
It must not carry anything but what goes over the wire.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from daemon.local.pubsub.schema import ErrorInfo, Status


class RpcError(Exception):
    """The status, and the words, that a call is answered with."""

    def __init__(self, code: grpc.StatusCode, text: str, details: bytes = b"") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.details = details

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return (("grpc-status-details-bin", self.details),) if self.details else ()


def invalid(text: str) -> RpcError:
    return RpcError(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(path: str) -> RpcError:
    return RpcError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={path.rsplit('/', 1)[-1]}).")


def already_exists(path: str) -> RpcError:
    return RpcError(grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists (resource={path.rsplit('/', 1)[-1]}).")


def stale_ack_ids(ack_ids: Iterable[str]) -> RpcError:
    """What a subscription with exactly-once delivery answers to ack ids that hold no lease (any more)."""
    text = "Some acknowledgement ids in the request were invalid."
    reason = ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com")
    for ack_id in ack_ids:
        reason.metadata[ack_id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
    detail = AnyMessage()
    detail.Pack(reason)
    status = Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message=text, details=[detail])
    return RpcError(grpc.StatusCode.FAILED_PRECONDITION, text, status.SerializeToString())
