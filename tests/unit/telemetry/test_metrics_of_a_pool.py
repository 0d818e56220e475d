"""Metrics: the label of the pool, and what says that the database is unavailable."""

from dataclasses import replace

import pytest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from daemon.errors import StoreUnavailable
from daemon.telemetry.metrics import Metrics
from tests.unit.telemetry.samples import CLAIM, COMPLETED, TRACE, TRACEPARENT, value


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["thumbnail"])


def test_the_database_is_away_from_the_first_missing_answer_to_the_next_one(metrics: Metrics) -> None:
    metrics.database_unavailable("claim", StoreUnavailable(), 0.1)
    metrics.database_unavailable("claim", StoreUnavailable(), 0.2)
    assert value(metrics, "headcount_database_unavailable", operation="claim") == 1

    metrics.database_available("claim", 4.5)
    assert value(metrics, "headcount_database_unavailable", operation="claim") == 0
    assert value(metrics, "headcount_database_unavailable_seconds_total", operation="claim") == 4.5
    assert value(metrics, "headcount_batch_retries_total", operation="claim") == 2


def test_a_missed_heartbeat_says_that_the_database_is_unavailable_until_the_next_one_is_written(
    metrics: Metrics,
) -> None:
    assert value(metrics, "headcount_database_unavailable", operation="heartbeat") == 0
    metrics.heartbeat_failed(StoreUnavailable())
    assert value(metrics, "headcount_database_unavailable", operation="heartbeat") == 1
    metrics.heartbeat(0.01, 0.0)
    assert value(metrics, "headcount_database_unavailable", operation="heartbeat") == 0


def test_a_backlog_that_is_not_counted_says_so_too_and_another_loop_does_not(metrics: Metrics) -> None:
    metrics.background_loop_failed("relay-jobs", RuntimeError(), 1.0)
    assert value(metrics, "headcount_database_unavailable", operation="backlog") == 0
    metrics.background_loop_failed("backlog", StoreUnavailable(), 1.0)
    assert value(metrics, "headcount_database_unavailable", operation="backlog") == 1
    metrics.backlog(0, 0.0)
    assert value(metrics, "headcount_database_unavailable", operation="backlog") == 0


def test_every_series_says_of_which_pool_it_is() -> None:
    of_a_pool = Metrics(["thumbnail"], pool="gpu")
    of_a_pool.finished(replace(CLAIM, traceparent=TRACEPARENT), COMPLETED, 1.0)
    pools = {one.labels["pool"] for family in of_a_pool.registry.collect() for one in family.samples}
    assert pools == {"gpu"}
    assert f'trace_id="{TRACE}"' in openmetrics(of_a_pool.registry).decode(), "the exemplars are kept"
