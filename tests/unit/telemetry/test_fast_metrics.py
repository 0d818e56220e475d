"""The counters and histograms of every job say what the library's own would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from daemon.telemetry.metrics.fast import FastCounter, FastHistogram

BOUNDS = (0.005, 0.1, 1, 60, 14400)
AMOUNTS = st.lists(st.sampled_from(BOUNDS) | st.floats(0, 100_000), max_size=40)


def told(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


@given(AMOUNTS)
def test_a_histogram_tells_the_same_as_the_librarys(amounts: list[float]) -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread = FastHistogram(ours, "seconds", "How long.", BOUNDS, ("name",)).labels("a")
    histogram = Histogram("seconds", "How long.", ["name"], buckets=BOUNDS, registry=theirs).labels("a")
    for amount in amounts:
        spread.observe(amount)
        histogram.observe(amount)
    assert told(ours) == told(theirs)


@given(st.integers(0, 50))
def test_a_counter_tells_the_same_as_the_librarys(times: int) -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    count = FastCounter(ours, "jobs_total", "How many.", ("name",)).labels("a")
    counter = Counter("jobs_total", "How many.", ["name"], registry=theirs).labels("a")
    for _ in range(times):
        count.inc()
        counter.inc()
    assert told(ours) == told(theirs)


def test_both_write_the_same_text_with_its_help_and_type() -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    FastCounter(ours, "jobs_total", "How many.", ("name",)).labels("a").inc()
    Counter("jobs_total", "How many.", ["name"], registry=theirs).labels("a").inc()
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_bucket_shows_its_newest_exemplar() -> None:
    registry = CollectorRegistry()
    spread = FastHistogram(registry, "seconds", "How long.", BOUNDS, ("name",)).labels("a")
    spread.observe(0.5, {"trace_id": "old"})
    spread.observe(0.6, {"trace_id": "new"})
    spread.observe(0.7)
    (line,) = [line for line in openmetrics(registry).decode().splitlines() if "#" in line[1:]]
    assert 'le="1.0"' in line
    assert 'trace_id="new"' in line
