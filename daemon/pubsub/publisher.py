"""Publishing: whole batches to a topic, each confirmed or refused as one.

Used by the relay and by clients, inside the running event loop. It retries transient failures for a
bounded time, so a message may be published twice: its own id in the attributes makes that harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound, RetryError
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from daemon.errors import PublishFailed, PublishRefused
from daemon.pubsub.connection import TRANSIENT, publisher_client

MAX_MESSAGES = 1_000
MAX_BYTES = 9_000_000  # the service takes 10 MB, its own framing included

Outgoing = tuple[bytes, Mapping[str, str]]

_Message = PubsubMessage.pb()
_Request = PublishRequest.pb()


class Publisher:
    """Publishes batches. `timeout` bounds one request, `retry_timeout` all tries of it; both are seconds."""

    def __init__(self, *, timeout: float = 10.0, retry_timeout: float = 15.0) -> None:
        self._timeout = timeout
        self._retry = AsyncRetry(if_exception_type(*TRANSIENT), initial=0.1, maximum=2.0, timeout=retry_timeout)
        self._client: PublisherAsyncClient | None = None

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """Publish all of them. Raises PublishFailed when one request was not confirmed; any may have arrived then.

        PublishRefused, which is one, means that the service refused a message of the batch for what it holds.
        """
        client = self._connected()
        for batch in _batches(messages):
            # The plain protobuf classes: the library's wrappers cost twice as much for each message.
            request = PublishRequest.wrap(_Request(topic=topic, messages=batch))
            try:
                await client.publish(request, retry=self._retry, timeout=self._timeout)
            except NotFound as error:
                text = f"The topic {topic} does not exist; fix it with: headcount provision"
                raise PublishFailed(text) from error
            except RetryError as error:
                raise PublishFailed(
                    f"Pub/Sub did not confirm {len(batch)} messages to {topic}: {error.cause}"
                ) from error
            except InvalidArgument as error:
                raise PublishRefused(f"Pub/Sub refused {len(batch)} messages to {topic}: {error.message}") from error
            except (GoogleAPICallError, GoogleAuthError) as error:
                raise PublishFailed(f"Pub/Sub refused {len(batch)} messages to {topic}: {error}") from error

    async def close(self) -> None:
        """Close the connection; a later publish opens a new one."""
        client, self._client = self._client, None
        if client is not None:
            shut: Callable[[], Awaitable[None]] = client.transport.close  # not annotated
            await shut()

    def _connected(self) -> PublisherAsyncClient:
        # Made at the first use: a client made outside of the running loop hangs.
        if self._client is None:
            self._client = publisher_client()
        return self._client


def _batches(messages: Sequence[Outgoing]) -> Iterator[list[PubsubMessage]]:
    batch: list[PubsubMessage] = []
    room = MAX_BYTES
    for data, attributes in messages:
        message = _Message(data=data, attributes=attributes)
        size = message.ByteSize() + 8
        if batch and (size > room or len(batch) >= MAX_MESSAGES):
            yield batch
            batch, room = [], MAX_BYTES
        batch.append(message)
        room -= size
    if batch:
        yield batch
