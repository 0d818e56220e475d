"""A proxy in front of Postgres whose network is bad: delayed packets, cut links, late packets of dead clients.

Used by the storm with delayed packets. Everything it does is drawn from a seed and bounded by its plan, and counted in
`faults`. The bytes of one link keep their order; a packet may arrive when its sender has long been gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from tests.chaos.proxy import CHUNK, Link, Proxy

WITHHELD_SECONDS = 5.0
LAST_ANSWERS = 0.5


class Cut(Enum):
    """Where a link is cut: the first two fall upon a question, the others upon an answer."""

    BEFORE_QUESTION = "before a question arrived"
    LATE = "after a COMMIT was sent, which arrived late"
    BEFORE_ANSWER = "before an answer"
    IN_ANSWER = "in the middle of an answer"
    AFTER_ANSWER = "after an answer"


OF_QUESTIONS = (Cut.BEFORE_QUESTION, Cut.LATE)
OF_ANSWERS = (Cut.BEFORE_ANSWER, Cut.IN_ANSWER, Cut.AFTER_ANSWER)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How bad the network is, in seconds.

    A link is cut about every `cut_every`, each kind of cut as often as the others, except that `late_every` is the
    shortest time between two cuts whose COMMIT arrives late, by at most `late`. A share of `delayed` packets waits for
    up to `delay`.
    """

    seed: int
    cut_every: float = 0.5
    late_every: float = 5.0
    late: float = 20.0
    delayed: float = 0.05
    delay: float = 0.2


class FaultyProxy(Proxy):
    """Forwards well until `begin` and after `stop`; between them as badly as the plan says.

    It can be cut and pointed elsewhere like any other; `freeze`, `strand` and `lose_answers` have no effect on it.
    """

    def __init__(self, target: int, plan: FaultPlan) -> None:
        super().__init__(target)
        self.faults: Counter[str] = Counter()
        self.longest_late = 0.0
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._next: Cut | None = None
        self._active = False
        self._withheld: set[int] = set()
        self._dead: set[Link] = set()
        self._late = 0
        self._cutting: asyncio.Task[None] | None = None

    @property
    def late_packets(self) -> int:
        """How many packets of dead clients are still on their way."""
        return self._late

    def begin(self) -> None:
        """Become bad."""
        self._do(self._begin)

    def stop(self) -> None:
        """Forward well again; what is late already stays late."""
        self._do(self._stop)

    def withhold(self, ports: Collection[int]) -> None:
        """Keep back what the clients at these ports send from now on, until they are gone: then it arrives late.

        A client that is still there after WITHHELD_SECONDS gets everything delivered, and its link is a usual one.
        """
        self._do(lambda: self._withheld.update(ports))

    def _begin(self) -> None:
        self._active = True
        self._cutting = self._loop.create_task(self._choose_cuts())

    def _stop(self) -> None:
        self._active, self._next = False, None
        if self._cutting is not None:
            self._cutting.cancel()

    async def _choose_cuts(self) -> None:
        """Name the next cut, which falls upon the next packet of its direction, on whichever link that comes."""
        last_late = 0.0
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._plan.cut_every)
            kind = self._random.choice(tuple(Cut))
            if kind is Cut.LATE:
                if self._loop.time() - last_late < self._plan.late_every:
                    continue
                last_late = self._loop.time()
            self._next = kind

    def _cut_for(self, kinds: Collection[Cut], chunk: bytes) -> Cut | None:
        if self._next not in kinds or (self._next is Cut.LATE and b"COMMIT" not in chunk):
            return None
        kind, self._next = self._next, None
        if kind is not None:
            self.faults[f"links cut {kind.value}"] += 1
        return kind

    async def _pause(self) -> None:
        if self._active and self._random.random() < self._plan.delayed:
            self.faults["packets delayed"] += 1
            await asyncio.sleep(self._random.uniform(0.0, self._plan.delay))

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            await (self._answers(reader, writer, link) if answers else self._questions(reader, writer, link))
        for one in link:
            one.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        while chunk := await reader.read(CHUNK):
            await self._pause()
            if link in self._dead:  # the server still talks to a client that is gone
                continue
            kind = self._cut_for(OF_ANSWERS, chunk)
            if kind is Cut.IN_ANSWER:
                chunk = chunk[: self._random.randrange(1, len(chunk))] if len(chunk) > 1 else b""
            if kind is not Cut.BEFORE_ANSWER:
                writer.write(chunk)
                await writer.drain()
            if kind is not None:
                return

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        port = link[0].get_extra_info("peername")[1]
        try:
            while chunk := await reader.read(CHUNK):
                if port in self._withheld:
                    chunk = await self._withhold(chunk, reader, writer, link, port)
                await self._pause()
                kind = self._cut_for(OF_QUESTIONS, chunk)
                if kind is Cut.LATE:
                    await self._deliver_late(chunk, writer, link)
                if kind is not None:
                    return
                writer.write(chunk)
                await writer.drain()
        finally:
            self._withheld.discard(port)
            self._dead.discard(link)

    async def _withhold(
        self, chunk: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, port: int
    ) -> bytes:
        """What the client sends until it is gone, delivered late; the bytes of a client that stayed are given back."""
        try:
            async with asyncio.timeout(WITHHELD_SECONDS):
                while more := await reader.read(CHUNK):
                    chunk += more
        except TimeoutError:
            self._withheld.discard(port)
            return chunk
        except OSError:  # the kernel of a killed client resets a link with unread answers
            pass
        await self._deliver_late(chunk, writer, link)
        return b""

    async def _deliver_late(self, chunk: bytes, writer: asyncio.StreamWriter, link: Link) -> None:
        """Close the link towards the client, and let the server have the question when nobody waits for the answer."""
        self._dead.add(link)
        link[0].close()
        seconds = self._random.uniform(0.0, self._plan.late)
        self._late += 1
        try:
            await asyncio.sleep(seconds)
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(LAST_ANSWERS)
        finally:
            self._late -= 1
        self.longest_late = max(self.longest_late, seconds)
        self.faults["packets delivered late"] += 1
        self.faults["of them with a COMMIT"] += b"COMMIT" in chunk
