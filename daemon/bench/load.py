"""Publishing what the workers are to do: jobs directly as messages, in orchestrations of any size.

Used by the scenarios. A producer of Headcount needs no more than this: a topic and the contract of a job message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import grpc
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from daemon.bench.stack import Environment
from daemon.job import JobMessage
from daemon.rules.messages import encode, instance_id

PER_REQUEST = 1_000
BYTES_PER_REQUEST = 5_000_000

_Message = PubsubMessage.pb()
_Request = PublishRequest.pb()


def publish(
    environment: Environment, job_name: str, jobs: int, *, per_orchestration: int = 1_000, params: object = None
) -> None:
    """Publish `jobs` messages; whoever subscribes gets them with their params inside."""
    text = json.dumps({} if params is None else params)
    room = max(1, min(PER_REQUEST, BYTES_PER_REQUEST // (len(text) + 300)))
    channel = grpc.insecure_channel(environment.pubsub, options=[("grpc.max_send_message_length", -1)])
    client = PublisherClient(transport=PublisherGrpcTransport(host=environment.pubsub, channel=channel))
    batch = []
    for message in _messages(job_name, jobs, per_orchestration, text):
        data, attributes = encode(message)
        batch.append(_Message(data=data, attributes=attributes))
        if len(batch) == room:
            client.publish(PublishRequest.wrap(_Request(topic=environment.topic, messages=batch)))
            batch = []
    if batch:
        client.publish(PublishRequest.wrap(_Request(topic=environment.topic, messages=batch)))
    channel.close()


def _messages(job_name: str, jobs: int, per_orchestration: int, params: str) -> Iterator[JobMessage]:
    for first in range(0, jobs, per_orchestration):
        orchestration_id = uuid4()
        count = min(per_orchestration, jobs - first)
        for index in range(count):
            job_id = instance_id(orchestration_id, index)
            yield JobMessage(job_name, job_id, orchestration_id, index, count, params)
