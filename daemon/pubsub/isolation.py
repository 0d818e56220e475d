"""Publishing a batch of which Pub/Sub may refuse single messages for what they hold.

Used by `headcount rejected replay`, inside the running event loop: what once broke a contract may break Pub/Sub's too.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.api_core.exceptions import InvalidArgument

from daemon.errors import PublishFailed
from daemon.pubsub.publisher import Outgoing, Publisher


async def publish_isolated(publisher: Publisher, topic: str, messages: Sequence[Outgoing]) -> dict[int, PublishFailed]:
    """Publish all that Pub/Sub takes; the refusals by the index of their message.

    Raises PublishFailed for a reason that lies in no single message: a missing topic or permission, no answer.
    """
    try:
        await publisher.publish(topic, messages)
    except PublishFailed as error:
        if not isinstance(error.__cause__, InvalidArgument):
            raise
        if len(messages) == 1:
            return {0: error}
        half = len(messages) // 2
        first = await publish_isolated(publisher, topic, messages[:half])
        second = await publish_isolated(publisher, topic, messages[half:])
        return first | {half + index: refusal for index, refusal in second.items()}
    return {}
