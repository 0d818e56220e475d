"""Any order of deliveries, duplicates, crashes, cut-offs, rescues and relays of several workers: the same laws.

The state machine of the protocol's faults, on real pipelines and a real relay; each run ends with a recovery.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.job import Status
from tests.property.crash_world import CANCELLED, Flight, Worker, World
from tests.property.judgement import judge_the_end

ORCHESTRATION = "00000000-0000-4000-8000-0000000000aa"
ANY = st.integers(0, 10_000)


class Faults(RuleBasedStateMachine):
    """One orchestration of three jobs, a lone job, and a message that is no job."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.world.worker()
        self.world.worker()
        for index, data in enumerate([b"{}", b'{"fails": 1}', b'{"fails": 9}']):
            ids = {"orchestration_id": ORCHESTRATION, "index": str(index), "count": "3"}
            self.world.publish(data, {"job_name": "paint", **ids})
        self.world.publish(b"{}", {"job_name": "paint"})
        self.world.publish(b"no JSON", {"job_name": "paint"})
        self.world.arrive()

    def _living(self, number: int) -> Worker:
        living = [worker for worker in self.world.workers if worker.alive] or [self.world.worker()]
        return living[number % len(living)]

    def _flying(self) -> list[Flight]:
        return [flight for flight in self.world.flights if not flight.over]

    @precondition(lambda self: self.world.queue)
    @rule(worker=ANY, index=ANY, twice=st.booleans())
    def deliver(self, worker: int, index: int, twice: bool) -> None:
        self.world.deliver(self._living(worker), index % len(self.world.queue), keep=twice and len(self._flying()) < 6)

    @precondition(lambda self: self._flying())
    @rule(which=ANY, steps=st.integers(1, 4))
    def go_on(self, which: int, steps: int) -> None:
        flight = self._flying()[which % len(self._flying())]
        for _ in range(steps):
            if not flight.over:
                flight.step()
        self.world.answer()
        self.world.arrive()

    @precondition(lambda self: any(flight.steps and flight.worker for flight in self._flying()))
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        begun = [flight for flight in self._flying() if flight.steps and flight.worker]
        begun[which % len(begun)].step(CANCELLED())
        self.world.answer()

    @rule(which=ANY)
    def kill(self, which: int) -> None:
        self.world.kill(self._living(which))
        self.world.answer()

    @rule(which=ANY)
    def cut_off(self, which: int) -> None:
        self.world.cut_off(self._living(which))

    @rule()
    def rescue_and_compare(self) -> None:
        for worker in self.world.workers:
            self.world.compare(worker) if worker.alive else self.world.rescue(worker)

    @rule()
    def relay(self) -> None:
        self.world.relay()

    @precondition(lambda self: any(flight.worker is None for flight in self._flying()))
    @rule()
    def a_relay_dies(self) -> None:
        next(flight for flight in self._flying() if flight.worker is None).lose()

    @rule(broken=st.booleans())
    def the_bus_breaks_or_recovers(self, broken: bool) -> None:
        self.world.bus.broken = broken

    @rule(seconds=st.sampled_from([0.5, 3.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.tables.now += seconds

    @invariant()
    def every_unfinished_job_has_a_future(self) -> None:
        for row in self.world.tables.jobs.values() if hasattr(self, "world") else []:
            unfinished = row.status is Status.IN_PROGRESS
            assert unfinished == (row.worker is not None or row.publish_at is not None)

    def teardown(self) -> None:
        self.world.bus.broken = False
        self.world.recover()
        judge_the_end(self.world)
        assert len(self.world.tables.groups) >= 1


TestFaults = Faults.TestCase
TestFaults.settings = settings(stateful_step_count=40, suppress_health_check=list(HealthCheck))
