"""The raw client: Google's SubscriberClient with its own defaults and a callback that only acks.

Run by `measure`. Prints messages per second and CPU seconds per message of this process; nothing of Headcount is in it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message

TIMEOUT = 300.0


class Drain:
    """Counts messages, and notes when the first and the last one came."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._lock = threading.Lock()
        self.done = threading.Event()
        self.first = self.last = 0.0

    def __call__(self, message: Message) -> None:
        message.ack()
        with self._lock:
            self._left -= 1
            if not self.first:
                self.first = time.monotonic()
            if self._left == 0:
                self.last = time.monotonic()
                self.done.set()


def main(pubsub: str, subscription: str, messages: int) -> dict[str, float]:
    """Drain a subscription that holds exactly so many messages."""
    os.environ["PUBSUB_EMULATOR_HOST"] = pubsub
    drain = Drain(messages)
    client = SubscriberClient()
    cpu = time.process_time()
    future = client.subscribe(subscription, drain)
    complete = drain.done.wait(TIMEOUT)
    spent = time.process_time() - cpu
    future.cancel()
    future.result(timeout=30)
    if not complete:
        raise SystemExit("the raw client did not get all messages")
    return {"per_second": messages / (drain.last - drain.first), "cpu": spent / messages}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
