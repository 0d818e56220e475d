"""A bus that keeps what was published, and can refuse it.

Used by the tests of the relay and by the crash test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from daemon.errors import PublishFailed, PublishRefused

Message = tuple[bytes, Mapping[str, str]]


async def at_once(_where: str) -> None:
    """The pause of a test that counts no steps."""


class MemoryBus:
    """Topics as lists. While `broken`, nothing is taken and PublishFailed is raised; a batch with a message that
    `refuses` names is refused whole."""

    def __init__(self, pause: Callable[[str], Awaitable[None]] = at_once) -> None:
        self.topics: dict[str, list[Message]] = {}
        self.broken = False
        self.refuses: Callable[[Message], bool] = lambda _message: False
        self.calls = 0
        self._pause = pause

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        await self._pause("before publish")
        self.calls += 1
        if any(self.refuses(one) for one in messages):
            raise PublishRefused("a message is not accepted")
        if self.broken:
            raise PublishFailed("the bus is broken")
        self.topics.setdefault(topic, []).extend(messages)
        await self._pause("published")

    def take(self, topic: str) -> list[Message]:
        """What was published to a topic and not yet taken."""
        return self.topics.pop(topic, [])
