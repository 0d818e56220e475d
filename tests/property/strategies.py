"""What the laws are tried on: messages good and broken, claims, results, policies, rows as read, JSON values.

Used by the property tests. Texts may hold anything that a Pub/Sub attribute may, and now and then what it may not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from daemon.job import (
    Cause,
    Claim,
    Failed,
    Interrupted,
    JobError,
    JobMessage,
    Kind,
    Result,
    Returned,
    Status,
    StopReason,
    Unknown,
)
from daemon.orchestration import CompletedOrchestration
from daemon.rules.claim_answer import ClaimView
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.messages import RESERVED_TAG_PREFIXES, RESERVED_TAGS
from daemon.rules.retry import Backoff
from tests.model.oracle import outcome_of

UUIDS = st.uuids()
NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
NUMBERS = st.integers(-1, 5).map(str) | st.text(max_size=12)
EVERY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=30)
SECONDS = st.floats(allow_nan=True, allow_infinity=True)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def _may_be_a_tag(key: str) -> bool:
    return key not in RESERVED_TAGS and not key.startswith(RESERVED_TAG_PREFIXES) and len(key.encode()) <= 252


STORABLE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
TAGS = st.dictionaries(STORABLE.filter(lambda key: bool(key) and _may_be_a_tag(key)), STORABLE, max_size=4)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STORABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STORABLE, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.binary(max_size=40) | st.sampled_from(
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"a": 1}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\\\u0000"}',
        b'{"a": "\\ud800"}',
        b"{" * 3000,
    ]
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "job_name": NAMES | EVERY_TEXT,
        "job_id": UUIDS.map(str) | EVERY_TEXT,
        "orchestration_id": UUIDS.map(str) | EVERY_TEXT,
        "index": NUMBERS,
        "count": NUMBERS,
        "schema_version": st.sampled_from(["1", "1", "1", "2", ""]),
        "traceparent": EVERY_TEXT | st.just("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        "tag.customer": EVERY_TEXT,
        "tag.outcome": EVERY_TEXT,
        "tag.": EVERY_TEXT,
        "anything else": EVERY_TEXT,
    },
)


@st.composite
def messages(draw: st.DrawFn) -> JobMessage:
    """Messages that a producer or the relay may send."""
    count = draw(st.integers(1, 1_000_000))
    given = draw(st.none() | st.just("params"))
    return JobMessage(
        job_name=draw(NAMES),
        job_id=draw(UUIDS),
        orchestration_id=draw(UUIDS),
        index=draw(st.integers(0, count - 1)),
        count=draw(st.sampled_from([count, None])),
        params='{"a":1}' if given else None,
        tags=draw(TAGS),
        traceparent=draw(st.sampled_from([None, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])),
        message_id=draw(st.text(st.characters(categories=("Nd",)), min_size=1, max_size=20)),
    )


CLAIMS = st.builds(
    Claim,
    job_id=UUIDS,
    orchestration_id=UUIDS,
    worker_id=UUIDS,
    index=st.integers(0, 5),
    count=st.integers(1, 5),
    job_name=NAMES,
    params=st.just("{}"),
    attempt=st.integers(1, 10_000),
    failures=st.integers(0, 6) | st.integers(0, 10_000),
    losses=st.integers(0, 10),
    tags=st.just({}),
    checkpoint=st.none(),
    age=st.floats(0, 1e9),
    deadline_in=st.none() | st.floats(-1e9, 1e9),
    cause=st.none() | st.sampled_from(Cause),
    traceparent=st.none(),
)
ERRORS = st.builds(JobError, st.sampled_from(Kind), st.text(max_size=10), st.none() | st.text(max_size=10))
RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.builds(Returned, st.just("null")),
    st.builds(Failed, ERRORS, st.none() | SECONDS, st.booleans()),
    st.builds(Unknown, st.lists(NAMES, max_size=3).map(tuple)),
    st.builds(Interrupted, st.sampled_from(StopReason)),
)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    """Every Backoff that its constructor accepts."""
    maximum = draw(st.floats(0, 31_536_000))
    factor = draw(st.floats(1, 1e300))
    return Backoff(draw(st.floats(0, maximum)), factor, maximum, draw(st.booleans()))


POLICIES = st.builds(RetryPolicy, st.integers(1, 6) | st.integers(1, 10_000), backoffs())
CHANCES = st.floats(0, 1, exclude_max=True)
FEW = st.sampled_from([f"00000000-0000-4000-8000-00000000000{n}" for n in "123"]).map(UUID)
SIGHTS = st.builds(
    ClaimView,
    exists=st.booleans(),
    status=st.sampled_from(Status),
    worker_id=st.none() | FEW,
    claim_token=st.none() | FEW,
    message_id=st.none() | st.sampled_from(["1", "2"]),
    early=st.booleans(),
    elsewhere=st.booleans(),
    registered=st.booleans(),
    registered_total=st.none() | st.integers(0, 5),
    registered_name=st.none() | st.sampled_from(["paint", "scan"]),
    closing=st.booleans(),
    taken_by=st.none() | FEW,
    taken_status=st.none() | st.sampled_from(Status),
    taken_attempt=st.none() | st.integers(0, 3),
)


@st.composite
def completed(draw: st.DrawFn) -> CompletedOrchestration:
    """Orchestrations whose event is due."""
    good, bad = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    begun = draw(MOMENTS)
    return CompletedOrchestration(
        id=draw(UUIDS),
        generation=draw(st.integers(1, 5)),
        job_name=draw(NAMES),
        tags=draw(TAGS),
        total=good + bad,
        completed=good,
        errored=bad,
        outcome=outcome_of(good, bad),
        created_at=begun,
        completed_at=begun + timedelta(seconds=draw(st.floats(0, 1e6))),
        traceparent=None,
    )
