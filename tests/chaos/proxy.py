"""A small TCP proxy in front of Postgres that can pause, cut, refuse, point elsewhere and lose answers.

Used where a fault lies in the network and not in a server. It runs in a thread with an event loop of its own, so that
a busy test holds nothing up, and knows nothing of what it forwards.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Link = tuple[asyncio.StreamWriter, asyncio.StreamWriter]
CHUNK = 65_536


class Proxy:
    """Forwards from `port` to the target, both on 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._refusing = False
        self._answers_to_lose = 0
        self._links: set[Link] = set()
        self._stranded: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def freeze(self) -> None:
        """Forward nothing and close nothing: half-open links, as a firewall makes them."""
        self._do(self._flowing.clear)

    def thaw(self) -> None:
        """Forward again, what waited first."""
        self._do(self._flowing.set)

    def strand(self) -> None:
        """The links that are open now never carry anything again, and are not closed."""
        self._do(lambda: self._stranded.update(self._links))

    def cut(self) -> None:
        """Close every link; new ones are served."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Close every link, and each new one at once."""
        self._do(lambda: setattr(self, "_refusing", True))
        self.cut()

    def accept(self) -> None:
        """Serve again."""
        self._do(lambda: setattr(self, "_refusing", False))

    def point_at(self, target: int) -> None:
        """Serve new links from another port, and close those to the old one."""
        self._do(lambda: setattr(self, "_target", target))
        self.cut()

    def lose_answers(self, count: int) -> None:
        """Swallow the next `count` answers of the server, and close the link of each: the question took effect."""
        self._do(lambda: setattr(self, "_answers_to_lose", count))

    @property
    def answers_to_lose(self) -> int:
        """How many answers are still to be lost."""
        return self._answers_to_lose

    def _do(self, act: Callable[[], object]) -> None:
        done = threading.Event()

        def acted() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(acted)
        done.wait(5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        link = (writer, far_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._forward(reader, far_writer, link, answers=False))
                ways.create_task(self._forward(far_reader, writer, link, answers=True))
        finally:
            self._links.discard(link)
            self._stranded.discard(link)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: Link,
        *,
        answers: bool,
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                await self._flowing.wait()
                if link in self._stranded:
                    continue
                if answers and self._answers_to_lose > 0:
                    self._answers_to_lose -= 1
                    break
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        for one in link:
            one.close()

    def _cut(self) -> None:
        for link in self._links:
            for one in link:
                one.close()

    async def _close(self) -> None:
        self._server.close()
        self._flowing.set()
        self._cut()
        while self._links:  # noqa: ASYNC110 - the links end by themselves within a moment
            await asyncio.sleep(0.01)
