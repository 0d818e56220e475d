"""The headcount.local.Control service: how a test switches faults on and off, and reads what happened.

Its public methods are the calls, by name, with JSON objects in and out; `control.Control` is the client. Everything
the server does wrong on purpose is started here, so nothing else may write to `Faults`.
"""

from __future__ import annotations

import asyncio
import dataclasses

import grpc

from daemon.local.pubsub.broker import Broker
from daemon.local.pubsub.faults import Hostility
from daemon.local.pubsub.rpc_error import RpcError
from daemon.local.pubsub.subscription import Subscription

Answer = dict[str, object]


class FaultService:
    """Wherever a call takes a `subscription`, its whole path is meant; without one, all of them are."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.faults = broker.faults

    def pause_delivery(self, subscription: str = "") -> Answer:
        self.faults.paused.add(subscription)
        return {}

    def resume_delivery(self, subscription: str = "") -> Answer:
        """Without a subscription: everything that was paused."""
        if subscription:
            self.faults.paused.discard(subscription)
        else:
            self.faults.paused.clear()
        for one in self.broker.subscriptions.values():
            one.wake()
        return {}

    def drop_streams(self, subscription: str = "") -> Answer:
        """End streams and waiting pulls with UNAVAILABLE; what they held stays leased until its deadline."""
        dropped = 0
        for one in self._chosen(subscription):
            dropped += len(one.receivers)
            one.end(RpcError(grpc.StatusCode.UNAVAILABLE, "The stream was dropped by a test."))
        return {"dropped": dropped}

    def go_away(self, seconds: float = 0.0) -> Answer:
        """Answer every call with UNAVAILABLE until `come_back`, or for so many seconds. The state is kept."""
        self.faults.away = True
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self.come_back)
        return self.drop_streams()

    def come_back(self) -> Answer:
        self.faults.away = False
        return {}

    def delay_acks(self, seconds: float) -> Answer:
        """Every ack takes effect, and is answered, so much later; 0 ends it."""
        self.faults.ack_delay = seconds
        return {}

    def lose_acks(self, count: int = 0, share: float = 0.0) -> Answer:
        """Answer OK to the next `count` acks, or to a random share of all, and forget them; without either: no more."""
        self.faults.acks_to_lose, self.faults.ack_loss = count, share
        return {}

    def wait_for_receipts(self, seconds: float = 600.0) -> Answer:
        """As the service does: the ack timer of a message starts with its receipt (its first ModAck), or so much later.

        Of streams only, and of what is handed out from now on; 0 ends it: then it starts when the message is sent.
        """
        self.faults.receipt_seconds = seconds
        return {}

    def expire_leases(self, subscription: str = "") -> Answer:
        return {"expired": sum(one.expire_leases() for one in self._chosen(subscription))}

    def deny(self, permissions: list[str], resource: str = "") -> Answer:
        """TestIamPermissions leaves them out, and calls that need one answer PERMISSION_DENIED."""
        self.faults.denied |= {(permission, resource) for permission in permissions}
        return {}

    def allow(self, permissions: list[str] | None = None, resource: str = "") -> Answer:
        """Take back `deny`; without permissions, all of it."""
        if permissions is None:
            self.faults.denied.clear()
        else:
            self.faults.denied -= {(permission, resource) for permission in permissions}
        return {}

    def enable_chaos(self, **settings: float) -> Answer:
        """The fields of `Hostility`, with its defaults."""
        known = {field.name for field in dataclasses.fields(Hostility) if field.init}
        if unknown := settings.keys() - known:
            raise TypeError(f"hostile mode has {', '.join(sorted(known))}; not {', '.join(sorted(unknown))}")
        self.faults.hostility = Hostility(**settings)  # type: ignore[arg-type]
        return {}

    def disable_chaos(self) -> Answer:
        """End hostile mode."""
        self.faults.hostility = None
        return {}

    def wipe(self, project: str = "") -> Answer:
        """Forget all topics and subscriptions of a project, or everything; streams end with NOT_FOUND."""
        self.broker.wipe(project)
        return {}

    def stats(self) -> Answer:
        subscriptions = {path: figures(one) for path, one in self.broker.subscriptions.items()}
        topics = {path: {"published": topic.published} for path, topic in self.broker.topics.items()}
        return {"topics": topics, "subscriptions": subscriptions}

    def _chosen(self, subscription: str) -> list[Subscription]:
        return [self.broker.subscription(subscription)] if subscription else list(self.broker.subscriptions.values())


def figures(subscription: Subscription) -> dict[str, int]:
    counts = subscription.counts
    return {
        "published": counts["published"],
        "delivered": counts["delivered"],
        "receipts": counts["receipts"],
        "acked": counts["acked"],
        "nacked": counts["nacked"],
        "expired": counts["expired"],
        "dead_lettered": counts["dead_lettered"],
        "outstanding": len(subscription.leases),
        "backlog": len(subscription.backlog),
        "receivers": len(subscription.receivers),
    }
