"""Control: a test's hand on a running local server, for everything a good server never does.

Used by tests and by nothing else: `with Control("127.0.0.1:8085") as control: control.pause_delivery()`. Every method
is one call of the server's `fault_service`, where each is described. It must not be imported by code that runs jobs.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self, TypedDict, cast

import grpc

SERVICE = "headcount.local.Control"


class SubscriptionFigures(TypedDict):
    """`outstanding` is leased now, `backlog` is still to be handed out (again); the others count since creation."""

    published: int
    delivered: int
    receipts: int
    acked: int
    nacked: int
    expired: int
    dead_lettered: int
    outstanding: int
    backlog: int
    receivers: int


class Stats(TypedDict):
    topics: dict[str, dict[str, int]]
    subscriptions: dict[str, SubscriptionFigures]


class Control:
    """Synchronous. `subscription` and `resource` are whole paths; left out, all of them are meant."""

    def __init__(self, target: str, *, timeout: float = 10.0) -> None:
        self._channel = grpc.insecure_channel(target)
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def pause_delivery(self, subscription: str = "") -> None:
        self._call("pause_delivery", subscription=subscription)

    def resume_delivery(self, subscription: str = "") -> None:
        self._call("resume_delivery", subscription=subscription)

    def drop_streams(self, subscription: str = "") -> int:
        """Returns how many were dropped."""
        return cast(int, self._call("drop_streams", subscription=subscription)["dropped"])

    def go_away(self, seconds: float = 0.0) -> None:
        self._call("go_away", seconds=seconds)

    def come_back(self) -> None:
        self._call("come_back")

    def delay_acks(self, seconds: float) -> None:
        self._call("delay_acks", seconds=seconds)

    def lose_acks(self, count: int = 0, *, share: float = 0.0) -> None:
        self._call("lose_acks", count=count, share=share)

    def wait_for_receipts(self, seconds: float = 600.0) -> None:
        self._call("wait_for_receipts", seconds=seconds)

    def expire_leases(self, subscription: str = "") -> int:
        """Returns how many were outstanding."""
        return cast(int, self._call("expire_leases", subscription=subscription)["expired"])

    def deny(self, *permissions: str, resource: str = "") -> None:
        self._call("deny", permissions=permissions, resource=resource)

    def allow(self, *permissions: str, resource: str = "") -> None:
        """Take back `deny`; without permissions, all of it."""
        self._call("allow", permissions=permissions or None, resource=resource)

    def enable_chaos(
        self,
        seed: int = 0,
        *,
        duplicate: float = 0.05,
        reorder: float = 0.2,
        late: float = 0.03,
        late_seconds: float = 3.0,
    ) -> None:
        self._call(
            "enable_chaos", seed=seed, duplicate=duplicate, reorder=reorder, late=late, late_seconds=late_seconds
        )

    def disable_chaos(self) -> None:
        self._call("disable_chaos")

    def wipe(self, project: str = "") -> None:
        self._call("wipe", project=project)

    def stats(self) -> Stats:
        return cast(Stats, self._call("stats"))

    def subscription(self, path: str) -> SubscriptionFigures:
        """The figures of one subscription."""
        return self.stats()["subscriptions"][path]

    def _call(self, name: str, **arguments: object) -> dict[str, object]:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/{SERVICE}/{name}")
        answer = method(json.dumps(arguments).encode(), timeout=self._timeout, wait_for_ready=True)
        return cast(dict[str, object], json.loads(answer))
