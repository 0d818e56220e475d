"""The server as a process: one line when it is ready, a clean end, and no life after its parent's."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from tests.contract.pubsub.bench import Bench
from tests.contract.pubsub.jury import reachable
from tests.harness.waiting import eventually

COMMAND = [sys.executable, "-m", "daemon.local.pubsub"]
PARENT = f"""
import os, subprocess, sys
child = subprocess.Popen({COMMAND!r} + ["--port", "0", "--with-parent", str(os.getpid())],
    stdout=subprocess.PIPE if sys.argv[1] == "is ready" else subprocess.DEVNULL)
if sys.argv[1] == "is ready":
    child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_one_line_when_it_is_ready_and_ends_well(started: subprocess.Popen[str], number: int) -> None:
    assert started.stdout is not None
    line = started.stdout.readline()
    start, _, address = line.strip().rpartition(" ")
    assert start == "pubsub listening on"
    bench = Bench(address)
    bench.stream(bench.pair()[1])
    started.send_signal(number)
    assert started.wait(5) == 0
    assert started.stdout.read() == ""
    bench.close()


def test_it_listens_on_loopback_only(pubsub_server: str) -> None:
    port = int(pubsub_server.rpartition(":")[2])
    listening = [one for one in psutil.net_connections("inet") if one.laddr and one.laddr.port == port]
    assert {one.laddr.ip for one in listening if one.status == psutil.CONN_LISTEN} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_taken_port_is_an_error_and_not_a_shared_port(pubsub_server: str) -> None:
    port = pubsub_server.rpartition(":")[2]
    second = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert port in second.stderr
    assert second.stdout == ""


@pytest.mark.parametrize("moment", ["is ready", "starts"])
def test_it_ends_with_its_parent(moment: str) -> None:
    command = [sys.executable, "-c", PARENT, moment]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    try:
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within=30)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_a_crashed_server_starts_empty_on_its_port_and_knows_no_ack_id_of_before(own_pubsub: PubSubProcess) -> None:
    bench = Bench(own_pubsub.address)
    topic, subscription = bench.pair()
    (first_id,) = bench.publish(topic, [b"x"])
    old = bench.pull(subscription)
    own_pubsub.crash()
    own_pubsub.start()
    assert reachable(own_pubsub.address)
    with Control(own_pubsub.address) as control:
        assert control.stats() == {"topics": {}, "subscriptions": {}}
        bench.pub.create_topic(name=topic)
        bench.sub.create_subscription(name=subscription, topic=topic)
        (second_id,) = bench.publish(topic, [b"y"])
        new = bench.pull(subscription)
        bench.ack(subscription, old)
        assert control.subscription(subscription)["outstanding"] == 1
    assert int(second_id) > int(first_id)
    assert new[0].ack_id != old[0].ack_id
    bench.close()


def test_it_starts_hostile_with_a_seed() -> None:
    command = [*COMMAND, "--port", "0", "--hostile", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bench = Bench(process.stdout.readline().split()[-1])
        topic, subscription = bench.pair()
        bench.publish(topic, [b"x"] * 400)
        got = eventually(lambda: bench.pull(subscription, 401))
        assert len(got) > 400
        bench.close()
        process.terminate()
