"""Links that are half open, and a server that finds itself pinged too often."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from daemon.delivery import Delivery
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import DesiredResources, SubscriptionSpec, TopicSpec, provision
from daemon.pubsub.streaming_pull import StreamingPull
from tests.chaos.proxy import Proxy
from tests.contract.google_client.conftest import Bus, Heard
from tests.harness.waiting import until

NOTICED = 20.0
TOUCHY = """
from daemon.local.pubsub import __main__, server
server.OPTIONS = [option for option in server.OPTIONS if "ping" not in option[0]]
server.OPTIONS.append(("grpc.http2.min_ping_interval_without_data_ms", 3_600_000))
__main__.main()
"""


@pytest.mark.long
async def test_a_link_that_is_half_open_is_noticed_within_twenty_seconds_and_what_ran_is_acked(
    bus: Bus, pubsub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(int(pubsub.rpartition(":")[2])) as proxy:
        await bus.publish(b"before")  # its own connection does not lead through the proxy
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{proxy.port}")
        async with bus.pulling() as inbox:
            await until(lambda: inbox.deliveries)
            proxy.strand()
            stranded = time.monotonic()
            inbox.deliveries[0].start()
            inbox.deliveries[0].ack()
            await until(lambda: inbox.observer.ends, within=NOTICED + 5)
            assert time.monotonic() - stranded < NOTICED + 1, "and a look is every quarter of a second"
            await until(lambda: bus.figures()["acked"] == 1, within=15)
            await bus.publish(b"after")
            await until(lambda: b"after" in inbox.bodies)


@pytest.fixture
def touchy() -> Iterator[str]:
    """The address of a server that sends its clients away (GOAWAY, too_many_pings) when they ping without data."""
    child = subprocess.Popen([sys.executable, "-c", TOUCHY, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    yield child.stdout.readline().split()[-1]
    child.terminate()
    child.wait()
    child.stdout.close()


async def test_messages_come_from_a_server_that_is_pinged_too_often_and_says_so(
    touchy: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", touchy)
    monkeypatch.setattr("daemon.pubsub.connection.KEEPALIVE_SECONDS", 0.1)
    topic, subscription = f"projects/{project}/topics/jobs", f"projects/{project}/subscriptions/jobs-worker"
    await provision(DesiredResources((TopicSpec(topic),), (SubscriptionSpec(subscription, topic),)))
    received_at, deliveries = Heard(), list[Delivery]()
    pull = StreamingPull(subscription, slots=1, prefetch=0, busy=lambda: 0, lease_seconds=60, observer=received_at)
    await pull.open(deliveries.append, lambda error: None)
    publisher = Publisher()
    try:
        await until(lambda: len(received_at.ends) == 2, within=60)
        assert "Too many pings" in str(received_at.ends[0])
        await publisher.publish(topic, [(b"x", {})])
        await until(lambda: deliveries)
    finally:
        await pull.close(2)
        await publisher.close()
