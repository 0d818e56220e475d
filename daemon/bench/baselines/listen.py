"""The raw client's latency: how long each message took to its callback.

Run by the latency scenario beside the worker. Messages hold the moment of their publication; prints the list of
seconds when all of them came.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message

TIMEOUT = 600.0


def main(pubsub: str, subscription: str, messages: int) -> list[float]:
    """Wait for so many messages."""
    os.environ["PUBSUB_EMULATOR_HOST"] = pubsub
    taken: list[float] = []
    done = threading.Event()

    def callback(message: Message) -> None:
        taken.append(time.time() - float(message.data))
        message.ack()
        if len(taken) == messages:
            done.set()

    client = SubscriberClient()
    future = client.subscribe(subscription, callback)
    if not done.wait(TIMEOUT):
        raise SystemExit("the raw client did not get all messages")
    future.cancel()
    future.result(timeout=30)
    return taken


if __name__ == "__main__":
    print(json.dumps(main(*json.loads(sys.argv[1]))))
