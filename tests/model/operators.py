"""What operators do in the stateful test: cancels, retries as a whole or slice by slice, and the events in between.

Mixed into the machine. Anything else may happen between two slices of a retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

from hypothesis import strategies as st

from daemon.errors import RequestRefused
from daemon.job import Kind
from daemon.orchestration import NewOrchestration
from daemon.postgres.outbox import EventOutbox
from daemon.postgres.retries import Reopening
from daemon.postgres.worker_registration import WorkerRegistration
from tests.model.oracle import Oracle, Whole
from tests.postgres.scene import Scene, Worker

T = TypeVar("T")


class OperatorRules:
    """Rules of the machine; each does the same to the store and to the oracle."""

    loop: asyncio.AbstractEventLoop
    scene: Scene
    oracle: Oracle
    registration: WorkerRegistration
    workers: list[Worker]
    wholes: list[Whole]
    events: list[tuple[UUID, int]]
    reopenings: dict[UUID, tuple[Reopening, int]]

    def do(self, work: Awaitable[T]) -> T:
        """Run it on the machine's loop."""
        return self.loop.run_until_complete(work)

    def _whole(self, data: st.DataObject) -> Whole:
        """An orchestration; registered now, if it was not."""
        whole = data.draw(st.sampled_from(self.wholes), label="orchestration")
        if not whole.registered:
            self.do(
                self.scene.orchestrations.create(NewOrchestration(whole.id, "count", ['{"n": 1}'] * whole.total, {}))
            )
            self.oracle.kick_off(whole)
        return whole

    def somebody_cancels(self, data: st.DataObject) -> None:
        whole = self._whole(data)
        expected = 0 if whole.complete else self.oracle.end_unfinished(whole, Kind.CANCELLED)
        assert self.do(self.scene.terminations.cancel(whole.id)) == expected

    def an_operator_retries(self, data: st.DataObject) -> None:
        whole = self._whole(data)
        try:
            reopened = self.do(self.scene.retries.retry_failed(whole.id))
        except RequestRefused:
            reopened = None
        assert reopened == self.oracle.retry_failed(whole)

    def an_operator_begins_to_retry(self, data: st.DataObject) -> None:
        """Slices of one instance follow, with anything else in between."""
        whole = self._whole(data)
        try:
            begun = self.do(self.scene.retries._begin(whole.id, []))
        except RequestRefused:
            assert self.oracle.begin_retry(whole) is None
            return
        assert (begun is not None) == bool(self.oracle.begin_retry(whole))
        if begun is not None:
            self.reopenings[whole.id] = (begun, 0)

    def a_retry_goes_on(self, data: st.DataObject) -> None:
        whole = self._whole(data)
        if whole.id not in self.reopenings:
            return
        reopening, after = self.reopenings[whole.id]
        came = self.do(self.scene.retries._slice(reopening, after))
        is_on = whole.generation == reopening.generation
        assert (came is not None) == (is_on and self.oracle.reopen_next(whole))
        if came is not None:
            self.reopenings[whole.id] = (reopening, came)
            return
        self.do(self.scene.retries._end(reopening))
        del self.reopenings[whole.id]
        if is_on:
            self.oracle.end_retry(whole)

    def handlers_of_ended_jobs_end(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        occupied = self.registration.claimed_jobs(worker.id).occupied
        assert sorted(occupied) == self.oracle.vacate(worker.id)
        self.registration.vacate(worker.id, sorted(occupied))

    def events_are_published(self, data: st.DataObject) -> None:
        due = EventOutbox(self.scene.engine)
        expected = [whole for whole in self.wholes if whole.complete and not whole.event_published]
        leased = self.do(due.lease(10))
        assert len(leased) == len(expected)
        self.events += [(one.message.id, one.message.generation) for one in leased]
        self.do(due.mark_published(leased))
        for whole in expected:
            whole.event_published = True
