"""The filter language: every filter can be written and read again, and whatever is no filter says what would be."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import RequestRefused
from daemon.job import Kind
from daemon.orchestration import ListState, OrchestrationFilter
from daemon.rules.filters import parse_filter, seconds_of

VALUES = st.text(min_size=1, max_size=20)
KEYS = VALUES.filter(lambda key: not set(":<>") & set(key))
AGES = st.none() | st.integers(0, 10_000).map(float)


@st.composite
def filters(draw: st.DrawFn) -> OrchestrationFilter:
    return OrchestrationFilter(
        state=draw(st.none() | st.sampled_from(ListState)),
        job_name=draw(st.none() | VALUES),
        tags=draw(st.dictionaries(KEYS, VALUES, max_size=3)),
        kind=draw(st.none() | st.sampled_from(Kind)),
        older_than=draw(AGES),
        newer_than=draw(AGES),
    )


def written(wanted: OrchestrationFilter) -> str:
    terms = [f"tag.{key}:{value}" for key, value in wanted.tags.items()]
    terms += [f"job:{wanted.job_name}"] if wanted.job_name is not None else []
    terms += [f"state:{wanted.state}"] if wanted.state is not None else []
    terms += [f"kind:{wanted.kind}"] if wanted.kind is not None else []
    terms += [f"age>{wanted.older_than:.0f}s"] if wanted.older_than is not None else []
    terms += [f"age<{wanted.newer_than:.0f}s"] if wanted.newer_than is not None else []
    return shlex.join(terms)


@given(filters().filter(lambda wanted: wanted != OrchestrationFilter()))
def test_what_is_written_is_read_again(wanted: OrchestrationFilter) -> None:
    assert parse_filter(written(wanted)) == wanted


@given(st.text(max_size=60))
def test_any_other_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with contextlib.suppress(RequestRefused):
        found = parse_filter(text)
        assert parse_filter(written(found)) == found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "the filter is empty"),
        ("thumbnail", "job:NAME"),
        ("age:2d", "age<2d"),
        ("job<3", "job:NAME"),
        ("age<two", "90s, 10m"),
        ("state:done", "running, complete"),
        ("kind:timeout", "TimedOut"),
        ("job:a job:b", "twice"),
        ("job:'a", "can't be read"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(text: str, names: str) -> None:
    with pytest.raises(RequestRefused, match=names):
        parse_filter(text)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int) -> None:
    assert seconds_of(f"{days}d{hours}h{minutes}m") == days * 86_400 + hours * 3_600 + minutes * 60
