"""Laws of refusals: a message is answered for good only by a row; a row that looks free is asked for again."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.job import Cause, Conflict, JobMessage, Refusal, Refused, Status, TryAgain
from daemon.rules.claim_answer import AlreadyClaimedByUs, ClaimView, explain_refusal
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
    lambda index, count, params: replace(MESSAGE, index=index, count=count, params=params, message_id="1"),
    st.integers(0, 4),
    st.none() | st.integers(1, 5),
    st.sampled_from([None, "{}"]),
)


@given(ASKED, SIGHTS, FEW, FEW)
def test_every_view_has_an_answer(message: JobMessage, view: ClaimView, me: UUID, token: UUID) -> None:
    answer = explain_refusal(message, view, me, token)
    assert isinstance(answer, (AlreadyClaimedByUs, Refused, Conflict, TryAgain))
    if isinstance(answer, Conflict):
        assert answer.reason in CONFLICTS
        assert answer.text


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_row_that_looks_free_is_never_refused(message: JobMessage, view: ClaimView, me: UUID, token: UUID) -> None:
    free = replace(
        view, exists=True, status=Status.IN_PROGRESS, worker_id=None, early=False, elsewhere=False, closing=False
    )
    assert isinstance(explain_refusal(message, free, me, token), TryAgain)


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_refusal_stands_in_a_row(message: JobMessage, view: ClaimView, me: UUID, token: UUID) -> None:
    answer = explain_refusal(message, view, me, token)
    if not isinstance(answer, Refused):
        return
    if not view.exists:
        assert answer.why is Refusal.FINISHED
        assert view.taken_by is not None
        assert view.taken_status in (Status.COMPLETED, Status.ERRORED, None)
        assert view.taken_attempt == 0, "only a place that was closed unborn answers for another job's id"
        return
    unfinished = view.status is Status.IN_PROGRESS
    said = {
        Refusal.FINISHED: not unfinished,
        Refusal.CLAIMED: unfinished and view.worker_id is not None,
        Refusal.NOT_DUE: unfinished and view.worker_id is None and view.early,
        Refusal.CLOSING: unfinished and view.worker_id is None and view.closing,
    }
    assert said[answer.why]


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_claim_is_ours_only_under_our_own_token(message: JobMessage, view: ClaimView, me: UUID, token: UUID) -> None:
    held = view.exists and not view.elsewhere and view.status is Status.IN_PROGRESS
    ours = held and view.worker_id == me and view.claim_token == token
    assert isinstance(explain_refusal(message, view, me, token), AlreadyClaimedByUs) == ours


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_repeated_message_id_is_an_expired_lease(message: JobMessage, view: ClaimView, me: UUID, token: UUID) -> None:
    answer = explain_refusal(message, view, me, token)
    if isinstance(answer, Refused) and view.exists:
        same = view.message_id == message.message_id
        assert answer.cause is (Cause.LEASE_EXPIRED if same else Cause.DUPLICATE_PUBLISH)


@given(ASKED, SIGHTS, FEW, FEW)
def test_a_message_that_only_points_at_a_job_never_waits_for_its_creation(
    message: JobMessage, view: ClaimView, me: UUID, token: UUID
) -> None:
    pointing = replace(message, params=None)
    answer = explain_refusal(pointing, replace(view, exists=False), me, token)
    assert answer == Conflict("NoSuchJob", answer.text if isinstance(answer, Conflict) else "")
