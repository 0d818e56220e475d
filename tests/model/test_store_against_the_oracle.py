"""The real store against the oracle: any operations in any order, and after each one every row is what it must be.

Two orchestrations of two jobs, three workers, and the faults of the protocol: duplicates, lost answers, stale attempts,
dead and draining workers, late relays, cancels and operators' retries. LONG=1 looks for much longer.
"""

from __future__ import annotations

import asyncio
import os
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from daemon.job import (
    Claim,
    Failed,
    Interrupted,
    JobMessage,
    Refusal,
    Result,
    Returned,
    Settlement,
    StopReason,
    UnfinishedJob,
)
from daemon.outbox import OutboxItem
from daemon.postgres import retries as retries_module
from daemon.postgres.claims import ClaimRequest
from daemon.postgres.database import async_engine, sync_engine
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.rules.lifecycle import RetryPolicy, settle_released
from daemon.rules.messages import instance_id
from daemon.rules.retry import Backoff
from tests.model.operators import OperatorRules
from tests.model.oracle import One, Oracle, Whole, said
from tests.model.rows import JOBS, WHOLES
from tests.postgres.scene import BOOM, GAP, POLICY, Scene, decided, message_for, pointer_to

MAX_LOSSES = 2
TOTAL = 2
LATER = RetryPolicy(3, Backoff(initial=600, maximum=600, jitter=False))
RESULTS: dict[str, tuple[Result, RetryPolicy]] = {
    "completes": (Returned('"ok"'), POLICY),
    "fails": (Failed(BOOM), POLICY),
    "fails and waits": (Failed(BOOM), LATER),
    "gives up": (Failed(BOOM, final=True), POLICY),
    "is interrupted": (Interrupted(StopReason.DRAINING), POLICY),
}
WEIGHTS = {
    "somebody_kicks_off": 2,
    "messages_arrive": 6,
    "attempts_end": 6,
    "an_attempt_fails_and_the_next_one_begins_here": 1,
    "a_settlement_is_repeated": 2,
    "a_worker_gives_back": 1,
    "a_worker_dies": 2,
    "a_worker_leaves": 1,
    "the_relay_publishes": 2,
    "a_relay_is_late": 2,
    "time_passes": 1,
    "somebody_cancels": 1,
    "an_operator_retries": 1,
    "an_operator_begins_to_retry": 1,
    "a_retry_goes_on": 3,
    "handlers_of_ended_jobs_end": 1,
    "events_are_published": 2,
}
workers = st.integers(0, 2)
wholes = st.integers(0, 1)
indexes = st.integers(0, TOTAL - 1)


class StoreMachine(OperatorRules, RuleBasedStateMachine):
    """Does the same to the store and to the oracle."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scene: Scene, registration: WorkerRegistration) -> None:
        super().__init__()
        self.loop, self.scene, self.registration = loop, scene, registration
        self.claims: list[Claim] = []
        self.settled: list[Settlement] = []
        self.leases: list[OutboxItem[JobMessage]] = []
        self.events, self.reopenings = [], {}

    @initialize()
    def begin(self) -> None:
        self.do(self.scene.clear())
        self.workers = [self.do(self.scene.worker()) for _ in range(3)]
        self.judge = self.do(self.scene.worker())
        self.wholes = [Whole(uuid4(), TOTAL) for _ in range(2)]
        jobs = [One(instance_id(whole.id, index), whole, index) for whole in self.wholes for index in range(TOTAL)]
        self.oracle = Oracle(jobs, MAX_LOSSES)

    @rule(data=st.data(), what=st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]))
    def something_happens(self, data: st.DataObject, what: str) -> None:
        """One rule for everything: hypothesis would leave some rules out, and most do little without a claim."""
        getattr(self, what)(data)

    def somebody_kicks_off(self, data: st.DataObject) -> None:
        self._whole(data)

    def messages_arrive(self, data: st.DataObject) -> None:
        """Any messages, duplicates too, in one batch; `lost`: the answer to COMMIT is, and the batch is repeated."""
        asked = data.draw(st.lists(st.tuples(wholes, indexes, st.booleans()), min_size=1, max_size=5), label="messages")
        worker, messages = self.workers[data.draw(workers)], [self._message(*one) for one in asked]
        requests = [ClaimRequest(message) for message in messages]
        answers = self.do(worker.asked(requests))
        if data.draw(st.booleans(), label="lost"):
            repeated = self.do(worker.asked(requests))
            assert [said(answer) for answer in repeated] == [said(answer) for answer in answers]
        first: dict[UUID, object] = {}
        for message, answer in zip(messages, answers, strict=True):
            job = self.oracle.jobs[message.job_id]
            if message.job_id not in first:
                first[job.id] = self.oracle.claim(job, worker.id, message.carries_params)
                assert said(answer) == first[job.id]
            else:
                assert said(answer) == (Refusal.CLAIMED if isinstance(first[job.id], int) else first[job.id])
            self.claims += [answer] if isinstance(answer, Claim) else []

    def _message(self, which: int, index: int, creates: bool) -> JobMessage:
        message = message_for(self.wholes[which].id, index, TOTAL)
        return message if creates else pointer_to(message)

    def attempts_end(self, data: st.DataObject) -> None:
        """Attempts end together in one batch: mostly such as run, and stale ones too."""
        current = [claim for claim in self.claims if self.oracle.runs(claim.job_id, claim.worker_id, claim.attempt)]
        batch: list[Settlement] = []
        for _ in range(data.draw(st.integers(1, 3))):
            known = current if current and data.draw(st.integers(0, 3)) else self.claims[-8:]
            if known:
                result = RESULTS[data.draw(st.sampled_from(sorted(RESULTS)), label="result")]
                batch.append(decided(data.draw(st.sampled_from(known), label="claim"), *result))
        self._settle(batch)

    def an_attempt_fails_and_the_next_one_begins_here(self, data: st.DataObject) -> None:
        """The same worker holds the next attempt: only the attempt tells its settlements apart."""
        for claim in [one for one in self.claims if self.oracle.runs(one.job_id, one.worker_id, one.attempt)][-1:]:
            self._settle([decided(claim, Failed(BOOM), RetryPolicy(9, POLICY.backoff))])
            worker = next(one for one in self.workers if one.id == claim.worker_id)
            answer = self.do(worker.answer(pointer_to(message_for(claim.orchestration_id, claim.index, TOTAL))))
            assert said(answer) == self.oracle.claim(self.oracle.jobs[claim.job_id], worker.id, False)
            self.claims += [answer] if isinstance(answer, Claim) else []
            result = RESULTS[data.draw(st.sampled_from(sorted(RESULTS)), label="late result")]
            self._settle([decided(claim, *result)])

    def a_settlement_is_repeated(self, data: st.DataObject) -> None:
        self._settle([data.draw(st.sampled_from(self.settled), label="settlement")] if self.settled else [])

    def a_worker_gives_back(self, data: st.DataObject) -> None:
        """What the comparison at a heartbeat does, possibly too late."""
        for claim in [data.draw(st.sampled_from(self.claims), label="claim")] if self.claims else []:
            self._settle([settle_released(UnfinishedJob(claim.job_id, claim.worker_id, claim.attempt))])

    def _settle(self, batch: list[Settlement]) -> None:
        if batch:
            answers = self.do(self.judge.stored(batch))
            assert answers == self.oracle.settle(batch)
            self.settled += batch

    def a_worker_dies(self, data: st.DataObject) -> None:
        who, draining = data.draw(workers), data.draw(st.booleans(), label="draining")
        worker = self.workers[who]
        if draining:
            self.registration.heartbeat(worker.id, 0, True)
        self.do(self.scene.silence(worker))
        self.do(self.judge.rescue(MAX_LOSSES))
        assert self.do(self.judge.rescue(MAX_LOSSES)) == []
        self.oracle.die(worker.id, draining)
        self.workers[who] = self.do(self.scene.worker())

    def a_worker_leaves(self, data: st.DataObject) -> None:
        who = data.draw(workers)
        assert self.registration.deregister(self.workers[who].id) == self.oracle.leave(self.workers[who].id)
        self.workers[who] = self.do(self.scene.worker())

    def the_relay_publishes(self, data: st.DataObject) -> None:
        everything = "publish_at IS NOT NULL AND (not_before IS NULL OR not_before <= now())"
        self.do(self.scene.run(f"UPDATE job SET publish_at = now() WHERE {everything}"))
        due = JobOutbox(self.scene.engine, 3600)
        leased = self.do(due.lease(100))
        assert {one.message.job_id for one in leased} == self.oracle.due()
        self.leases = [*self.leases, *leased][-8:]
        if data.draw(st.booleans(), label="fails"):
            self.do(due.requeue(leased))

    def a_relay_is_late(self, data: st.DataObject) -> None:
        for late in [data.draw(st.sampled_from(self.leases), label="lease")] if self.leases else []:
            due, before = JobOutbox(self.scene.engine, 3600), self.do(self.scene.job(late.message.job_id))
            moves = self.oracle.jobs[late.message.job_id].free and before["publish_at"] == late.publish_at
            if data.draw(st.booleans(), label="first published"):
                self.do(due.mark_first_published([late]))
            else:
                self.do(due.requeue([late]))
            after = self.do(self.scene.job(late.message.job_id))
            assert moves or after["publish_at"] == before["publish_at"]

    def time_passes(self, data: st.DataObject) -> None:
        self.do(self.scene.run("UPDATE job SET not_before = now(), publish_at = now() WHERE not_before > now()"))
        self.oracle.time_passes()

    @invariant()
    def every_row_is_what_it_must_be(self) -> None:
        if not hasattr(self, "oracle"):
            return
        rows = {row["id"]: row for row in self.do(self.scene.run(JOBS))}
        assert set(rows) == {job.id for job in self.oracle.jobs.values() if job.status is not None}
        for job_id, row in rows.items():
            job = self.oracle.jobs[job_id]
            found = (row["status"], row["attempt"], row["failures"], row["losses"], row["worker_id"])
            assert found == (job.status, job.attempt, job.failures, job.losses, job.worker)
            assert row["occupied_by"] == job.occupied
            assert (row["finish_number"], row["early"]) == (job.finish_number, job.early)
            # No job without a future, and none that is over and goes on.
            assert (row["publish_at"] is not None) == job.free
            # Every attempt is accounted for exactly once: it ended in history, it runs, it completed, or an operator
            # made room for a new generation.
            running = job.worker is not None or job.status == "Completed"
            assert row["attempt"] == row["history"] + job.reopened + running
            assert dict(row["kinds"] or []) == {str(attempt): kind for attempt, (_, kind) in job.ended.items()}

    @invariant()
    def counters_equal_rows(self) -> None:
        if not hasattr(self, "oracle"):
            return
        for row in self.do(self.scene.run(WHOLES)):
            whole = next(one for one in self.wholes if one.id == row["id"])
            assert (row["completed"], row["errored"]) == (row["rows_completed"], row["rows_errored"])
            assert (row["completed"], row["errored"]) == (whole.completed, whole.errored)
            assert (row["completed_at"] is not None) == whole.complete
            assert (row["reopening_at"] is not None) == (whole.reopening is not None)
            assert (row["generation"], row["event_published_at"] is not None) == (
                whole.generation,
                whole.event_published,
            )
            if row["generation"] == 1:
                assert row["places"] == list(range(1, whole.finishes + 1))

    @invariant()
    def a_generation_has_one_event(self) -> None:
        assert len(self.events) == len(set(self.events))


def test_the_store_does_what_the_oracle_says(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "SLICE", 1)
    examples = 2_000 if os.environ.get("LONG") == "1" else 40
    loop = asyncio.new_event_loop()
    engine, registration = (
        async_engine(database_url, 20),
        WorkerRegistration(sync_engine(database_url), "host", "", 1, GAP),
    )
    scene = Scene(engine, database_url)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=35,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(lambda: StoreMachine(loop, scene, registration), settings=chosen)
    finally:
        registration.close()
        loop.run_until_complete(engine.dispose())
        loop.close()
