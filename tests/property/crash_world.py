"""Workers that can be stopped at every await: real pipelines and a real relay on fakes, driven by hand.

Used by the crash tests. No event loop runs: each coroutine pauses by yielding, and `Flight.step` sends it on to its
next pause. So a test decides exactly where a worker dies, and nothing else happens meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID, uuid5

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.pipeline import Pipeline
from daemon.engine.relay import Relay
from daemon.errors import DecodeError
from daemon.job import Claim, Failed, Interrupted, JobError, Kind, Result, Returned, Status, StopReason
from daemon.observe import Observer
from daemon.registry import Handler, Registry
from daemon.rules.events import encode_event
from daemon.rules.messages import decode, encode
from tests.fakes.bus import MemoryBus, Message
from tests.fakes.delivery import FakeDelivery, a_handler
from tests.fakes.event_outbox import MemoryEventOutbox
from tests.fakes.job_outbox import MemoryJobOutbox
from tests.fakes.rows import Row
from tests.fakes.store import MemoryStore
from tests.fakes.tables import Tables

NAMESPACE = UUID("00000000-0000-4000-8000-00000000000f")
LONG = 10_000.0
ROUNDS = 60


@types.coroutine
def pause(where: str) -> Generator[str, None, None]:
    """An await point of the fakes: whoever drives the coroutine sees its name."""
    yield where


def paint(params: dict[str, int]) -> None:
    """Stands in the registry only: the fake runner decides what it does."""


@dataclass(eq=False)
class Worker:
    """One process. A killed one never does anything again."""

    store: MemoryStore
    pipeline: Pipeline
    in_flight: InFlight = field(default_factory=InFlight)
    alive: bool = True

    async def process(self, delivery: FakeDelivery) -> None:
        """As the consumer does it."""
        attempt = Attempt()
        self.in_flight.add(attempt)
        try:
            await self.pipeline.process(delivery, attempt)
        finally:
            attempt.handler_done()
            self.in_flight.remove(attempt)


@dataclass(eq=False)
class Flight:
    """One coroutine on its way. `error` is thrown into it once at its next pause, if set."""

    coroutine: Coroutine[object, object, None]
    worker: Worker | None = None
    delivery: FakeDelivery | None = None
    message: Message | None = None
    over: bool = False
    steps: int = 0

    def step(self, error: BaseException | None = None) -> None:
        """On to the next pause, or to the end; what ends it in an error goes back like the consumer gives it back."""
        try:
            if error is None:
                self.coroutine.send(None)
            else:
                self.coroutine.throw(error)
            self.steps += 1
        except StopIteration:
            self.over = True
        except AssertionError:
            raise
        except BaseException:
            self.over = True
            if self.delivery is not None:
                self.delivery.nack()

    def lose(self) -> None:
        """Its process is gone: neither ack nor nack is heard any more."""
        if self.delivery is not None:
            self.delivery.reply = self.delivery.reply or "lost"
        self.over = True
        self.coroutine.close()


class CountingRunner:
    """Runs no handler, but knows who runs what, and refuses a second attempt of a job."""

    def __init__(self, live: dict[UUID, UUID], gone: set[UUID]) -> None:
        self._live = live
        self._gone = gone

    async def run(self, claim: Claim, handler: Handler, attempt: Attempt) -> Result:
        if claim.worker_id in self._gone:
            await pause("running in vain")
            return Interrupted(StopReason.CLAIM_LOST)
        assert claim.job_id not in self._live, f"a second attempt runs while {self._live[claim.job_id]} runs the first"
        self._live[claim.job_id] = claim.worker_id
        try:
            await pause("running")
        finally:
            if self._live.get(claim.job_id) == claim.worker_id:
                del self._live[claim.job_id]
        if attempt.signal.reason is not None:
            return Interrupted(StopReason.DRAINING)
        if claim.failures < json.loads(claim.params).get("fails", 0):
            return Failed(JobError(Kind.RAISED, "boom"))
        return Returned("null")


@dataclass(eq=False)
class World:
    """The database, the bus, the workers, and every coroutine that is under way."""

    tables: Tables = field(default_factory=Tables)
    bus: MemoryBus = field(default_factory=lambda: MemoryBus(pause))
    queue: list[tuple[str, Message]] = field(default_factory=list)
    flights: list[Flight] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    live: dict[UUID, UUID] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)
    events: list[Message] = field(default_factory=list)
    born: int = 0

    def worker(self) -> Worker:
        """Start a process."""
        self.born += 1
        store = MemoryStore(self.tables, uuid5(NAMESPACE, str(self.born)), pause)
        registry = Registry({"paint": a_handler(paint, max_attempts=3)})
        runner = CountingRunner(self.live, self.gone)
        worker = Worker(store, Pipeline(store, runner, registry, Observer(), 300, lambda: 0.5))
        self.workers.append(worker)
        return worker

    def publish(self, data: bytes, attributes: dict[str, str]) -> None:
        """A producer's message."""
        self.bus.topics.setdefault("jobs", []).append((data, attributes))

    def arrive(self) -> None:
        """Whatever was published is waiting to be delivered, under ids of its own."""
        for message in self.bus.take("jobs"):
            self.queue.append((f"m{len(self.queue)}-{self.born}-{self.tables.now}", message))
        self.events.extend(self.bus.take("job-events"))

    def deliver(self, worker: Worker, index: int = 0, *, keep: bool = False) -> Flight:
        """Hand a waiting message to a worker; with `keep` the bus will deliver it once more."""
        message_id, message = self.queue[index] if keep else self.queue.pop(index)
        delivery = FakeDelivery(message[0], dict(message[1]), message_id)
        flight = Flight(worker.process(delivery), worker, delivery, message)
        delivery.on_ack = lambda: self._check_ack(flight)
        self.flights.append(flight)
        return flight

    def relay(self) -> Flight:
        """One round of a relay, jobs and events."""
        jobs = Relay("job", MemoryJobOutbox(self.tables, pause=pause), self.bus, "jobs", encode, Observer())
        events = MemoryEventOutbox(self.tables, pause=pause)
        as_event = partial(encode_event, source="//tests")
        completed = Relay("event", events, self.bus, "job-events", as_event, Observer())

        async def both() -> None:
            await jobs.publish_due()
            await completed.publish_due()

        flight = Flight(both())
        self.flights.append(flight)
        return flight

    def kill(self, worker: Worker) -> None:
        """The process ends without a word; later, another worker rescues its jobs."""
        worker.alive = False
        for flight in [flight for flight in self.flights if flight.worker is worker and not flight.over]:
            flight.lose()
        self._forget(worker)

    def rescue(self, worker: Worker) -> None:
        """Take back what a dead worker held."""
        assert not worker.alive
        self.tables.take_back(worker.store.me, None)

    def cut_off(self, worker: Worker) -> None:
        """A living worker is declared dead, its jobs are taken back, and it goes on under a new id."""
        self.tables.take_back(worker.store.me, None)
        self.gone.add(worker.store.me)
        self._forget(worker)
        self.born += 1
        worker.store.me = uuid5(NAMESPACE, str(self.born))

    def compare(self, worker: Worker) -> None:
        """A living worker gives back what it holds and does not run."""
        self.tables.take_back(worker.store.me, {snapshot.job_id for snapshot in worker.in_flight.snapshot()})

    def answer(self) -> None:
        """Messages that were not acked wait again."""
        for flight in [flight for flight in self.flights if flight.over]:
            self.flights.remove(flight)
            if flight.delivery is not None and flight.delivery.reply != "ack":
                assert flight.message is not None
                self.queue.append((flight.delivery.message_id, flight.message))

    def recover(self) -> None:
        """No more faults: let everything that can happen happen, until nothing is left to do."""
        for _ in range(ROUNDS):
            for flight in self.flights:
                while not flight.over:
                    flight.step()
            self.answer()
            for worker in self.workers:
                self.compare(worker) if worker.alive else self.rescue(worker)
            self.arrive()
            if self._quiet():
                self._end()
                return
            living = next((worker for worker in self.workers if worker.alive), None) or self.worker()
            while self.queue:
                self.deliver(living)
            self.relay()
            self.tables.now += LONG
        self._end()
        raise AssertionError(f"stuck: {self.tables.jobs} {self.tables.groups} {self.queue}")

    def _end(self) -> None:
        for flight in self.flights:
            flight.lose()

    def _forget(self, worker: Worker) -> None:
        for job_id in [job_id for job_id, by in self.live.items() if by == worker.store.me]:
            del self.live[job_id]

    def _quiet(self) -> bool:
        jobs = all(row.status is not Status.IN_PROGRESS for row in self.tables.jobs.values())
        return (
            jobs
            and not self.queue
            and all(one.event_published for one in self.tables.groups.values() if one.ended is not None)
        )

    def _check_ack(self, flight: Flight) -> None:
        assert flight.worker is not None
        assert flight.delivery is not None
        claimed = {one.claim.job_id: one.claim.attempt for one in flight.worker.in_flight.all() if one.claim}
        held = [row for row in self.tables.jobs.values() if row.worker == flight.worker.store.me]
        own = [row for row in held if claimed.get(row.message.job_id) == row.attempt]
        acked = self._row_of(flight.delivery)
        if acked not in self._rows_beside(flight):
            assert acked is None or acked not in own, "acked before the attempt's settlement was committed"
        known = flight.delivery.message_id in self.tables.rejected
        assert known or own is not None, "acked without a row and without a rejection"

    def _rows_beside(self, flight: Flight) -> list[Row | None]:
        """The jobs of the same worker's other deliveries: a duplicate is acked while the first of them still runs."""
        others = [one for one in self.flights if one is not flight and one.worker is flight.worker and not one.over]
        return [self._row_of(one.delivery) for one in others if one.delivery is not None]

    def _row_of(self, delivery: FakeDelivery) -> Row | None:
        try:
            message = decode(delivery.data, delivery.attributes, delivery.message_id)
        except DecodeError:
            return None
        return self.tables.jobs.get(message.job_id) or self.tables.taken(message)


CANCELLED = asyncio.CancelledError
