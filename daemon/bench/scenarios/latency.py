"""Latency: one message at a time to an idle worker, from its publication to the start of its handler.

Paired with the raw client on the same server: one message to it, one to the worker, by turns, so that both meet the
same moment of the same machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from uuid import uuid4

import grpc
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage, Subscription

from daemon.bench.figures import Report, percentile
from daemon.bench.measurement import Bench
from daemon.bench.stack import Environment
from daemon.bench.worker import BenchFailed, WorkerUnderTest
from daemon.job import JobMessage
from daemon.rules.messages import encode

PAUSE = 0.05
WARM = 20
READ = (
    "SELECT (result::text)::float8 FROM job WHERE job_name = 'stopwatch' AND status = 'Completed' ORDER BY created_at"
)


def latency(bench: Bench) -> Report:
    """p50 and p99 of both, and how far they are apart."""
    pairs = bench.size(300, 60) + WARM
    environment = bench.stack.environment()
    topic, subscription = _raw_topic(environment)
    listener = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "daemon.bench.baselines.listen",
            json.dumps([environment.pubsub, subscription, pairs]),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        with WorkerUnderTest(environment, bench.stack.logs / "worker.log"):
            time.sleep(2)
            _send(environment, topic, pairs)
            worker = _of_the_worker(environment, pairs)
        out, _ = listener.communicate(timeout=60)
    finally:
        listener.kill()
    raw: list[float] = json.loads(out.splitlines()[-1])[WARM:]
    bench.stack.drop(environment)
    return _report(worker[WARM:], raw)


def _report(worker: list[float], raw: list[float]) -> Report:
    report = Report("latency")
    for name, share, bar in (("p50", 0.5, 15.0), ("p99", 0.99, 50.0)):
        ours, theirs = percentile(worker, share) * 1e3, percentile(raw, share) * 1e3
        report.put(f"publish to handler, {name}", ours, "ms")
        report.put(f"publish to the raw client's callback, {name}", theirs, "ms")
        report.put(f"difference of {name}", ours - theirs, "ms", most=bar)
    return report


def _raw_topic(environment: Environment) -> tuple[str, str]:
    topic, subscription = (
        f"projects/{environment.project}/topics/raw",
        f"projects/{environment.project}/subscriptions/raw",
    )
    with _publisher(environment) as client:
        client.create_topic(name=topic)
    with SubscriberClient() as client:
        client.create_subscription(request=Subscription(name=subscription, topic=topic, ack_deadline_seconds=60))
    return topic, subscription


def _publisher(environment: Environment) -> PublisherClient:
    channel = grpc.insecure_channel(environment.pubsub)
    return PublisherClient(transport=PublisherGrpcTransport(host=environment.pubsub, channel=channel))


def _send(environment: Environment, topic: str, pairs: int) -> None:
    with _publisher(environment) as client:
        for _ in range(pairs):
            client.publish(topic=topic, messages=[PubsubMessage(data=repr(time.time()).encode())])
            time.sleep(PAUSE)
            job_id = uuid4()
            params = json.dumps({"sent": time.time()})
            data, attributes = encode(JobMessage("stopwatch", job_id, job_id, 0, 1, params))
            client.publish(topic=environment.topic, messages=[PubsubMessage(data=data, attributes=attributes)])
            time.sleep(PAUSE)


def _of_the_worker(environment: Environment, pairs: int) -> list[float]:
    until = time.monotonic() + 60
    with environment.connect() as connection:
        while time.monotonic() < until:
            rows = connection.execute(READ).fetchall()
            if len(rows) == pairs:
                return [float(str(row[0])) for row in rows]
            time.sleep(0.2)
    raise BenchFailed("the worker did not run every stopwatch job")
