"""Laws of refusals: a message is answered for good only by a row; a row that looks free is asked for again."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.job import Cause, Conflict, JobMessage, Refusal, Refused, Status, Undecided
from daemon.rules.refusal import Mine, Sight, judge
from tests.fakes.delivery import MESSAGE
from tests.property.strategies import FEW, SIGHTS, messages

CONFLICTS = {
    "JobElsewhere",
    "NoSuchJob",
    "IndexOutOfRange",
    "IndexTaken",
    "CountMismatch",
    "NameMismatch",
    "CountMissing",
}
ASKED = messages() | st.builds(
    lambda index, count, creates: replace(MESSAGE, index=index, count=count, creates=creates, message_id="1"),
    st.integers(0, 4),
    st.none() | st.integers(1, 5),
    st.booleans(),
)


@given(ASKED, SIGHTS, FEW, FEW)
def test_every_sight_has_an_answer(message: JobMessage, sight: Sight, me: UUID, token: UUID) -> None:
    answer = judge(message, sight, me, token)
    assert isinstance(answer, (Mine, Refused, Conflict, Undecided))
    if isinstance(answer, Conflict):
        assert answer.reason in CONFLICTS
        assert answer.text


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_row_that_looks_free_is_never_refused(message: JobMessage, sight: Sight, me: UUID, token: UUID) -> None:
    free = replace(
        sight, born=True, status=Status.IN_PROGRESS, worker_id=None, early=False, elsewhere=False, closing=False
    )
    assert isinstance(judge(message, free, me, token), Undecided)


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_refusal_stands_in_a_row(message: JobMessage, sight: Sight, me: UUID, token: UUID) -> None:
    answer = judge(message, sight, me, token)
    if not isinstance(answer, Refused):
        return
    if not sight.born:
        assert answer.why is Refusal.FINISHED
        assert sight.taken_by is not None
        assert sight.taken_status in (Status.COMPLETED, Status.ERRORED, None)
        assert sight.taken_attempt == 0, "only a place that was closed unborn answers for another job's id"
        return
    unfinished = sight.status is Status.IN_PROGRESS
    said = {
        Refusal.FINISHED: not unfinished,
        Refusal.HELD: unfinished and sight.worker_id is not None,
        Refusal.NOT_DUE: unfinished and sight.worker_id is None and sight.early,
        Refusal.CLOSING: unfinished and sight.worker_id is None and sight.closing,
    }
    assert said[answer.why]


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_claim_is_mine_only_under_my_own_token(message: JobMessage, sight: Sight, me: UUID, token: UUID) -> None:
    held = sight.born and not sight.elsewhere and sight.status is Status.IN_PROGRESS
    mine = held and sight.worker_id == me and sight.claim_token == token
    assert isinstance(judge(message, sight, me, token), Mine) == mine


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_repeated_message_id_is_an_expired_lease(message: JobMessage, sight: Sight, me: UUID, token: UUID) -> None:
    answer = judge(message, sight, me, token)
    if isinstance(answer, Refused) and sight.born:
        same = sight.message_id == message.message_id
        assert answer.cause is (Cause.LEASE_EXPIRED if same else Cause.DUPLICATE_PUBLISH)


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_message_that_only_points_at_a_job_never_waits_for_its_birth(
    message: JobMessage, sight: Sight, me: UUID, token: UUID
) -> None:
    pointing = replace(message, creates=False, params=None)
    answer = judge(pointing, replace(sight, born=False), me, token)
    assert answer == Conflict("NoSuchJob", answer.text if isinstance(answer, Conflict) else "")
