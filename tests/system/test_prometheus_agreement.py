"""A worker under load: what PromQL says of it and what the rows in Postgres say agree within two per cent.

Twenty seconds of it here, two minutes with LONG=1. The load is more than the slots can take, so that messages wait.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from daemon.telemetry.metrics.jobs import DURATION_BUCKETS, QUEUE_BUCKETS
from tests.harness.databases import TestDatabases
from tests.harness.needs import needs
from tests.harness.waiting import until
from tests.system.alert_fleet import Fleet

pytestmark = pytest.mark.long

WITHIN = 0.02
LOAD_SECONDS = 60 if os.environ.get("LONG") == "1" else 10
EACH_TICK = 10
TICK_SECONDS = 0.2
SLOTS = 20
LENGTHS, SHARES = (0.3, 0.75, 2.5), (60, 30, 10)  # each in the middle of a bucket
FAILING, STUMBLING = 0.2, 0.04
WINDOW_SECONDS = 6
SETTLED_AGO = 1.5

# What each handler measured itself and stored. From started_at to finished_at two commits more have passed.
DURATION = "substring(coalesce(result::text, error ->> 'message') FROM '[0-9.]+$')::float8"
DELAY = "extract(epoch FROM started_at)::float8 - (params ->> 'at')::float8"
NAPS = "FROM job WHERE job_name = 'nap'"


@pytest.fixture(scope="module")
async def fleet(
    databases: TestDatabases, pubsub_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """A worker with fewer slots than its load could fill."""
    needs("prometheus")
    url = databases.migrated()
    async with Fleet(tmp_path_factory.mktemp("agreement"), url, pubsub_server, slots=SLOTS) as made:
        yield made
    databases.drop(url)


@pytest.fixture(scope="module")
async def rates(fleet: Fleet) -> dict[str, tuple[float, float]]:
    """By outcome, in the middle of the load: what `rate` said and what the rows say of the same seconds."""
    published = await publish_for(fleet, LOAD_SECONDS)
    found = await rates_of(fleet)

    async def all_ended() -> bool:
        ended = 'sum(headcount_jobs_finished_total{outcome=~"Completed|Errored"})'
        return await fleet.number(ended) == published

    await until(all_ended, within=4 * LOAD_SECONDS + 30, what=f"{published} jobs have ended")
    return found


async def publish_for(fleet: Fleet, seconds: float) -> int:
    """How many jobs it published."""
    chance, began, count = random.Random(7), time.monotonic(), 0
    while time.monotonic() < began + seconds:
        await fleet.publish_all([message(chance, length) for length in chance.choices(LENGTHS, SHARES, k=EACH_TICK)])
        count += EACH_TICK
        await asyncio.sleep(TICK_SECONDS)
    return count


def message(chance: random.Random, length: float) -> dict[str, object]:
    """A job message whose params say when it was published, for the rows of such jobs do not."""
    name = "stumble" if chance.random() < STUMBLING else "nap"
    params = {"seconds": length, "fails": chance.random() < FAILING, "at": time.time()}
    return {"data": json.dumps(params).encode(), "attributes": {"job_name": name}}


async def rates_of(fleet: Fleet) -> dict[str, tuple[float, float]]:
    """A rate is the slope between the first and the last scrape of its window: the rows of just that time count."""
    at, found = time.time() - SETTLED_AGO, {}
    for outcome in ("Completed", "Errored"):
        series = f'headcount_jobs_finished_total{{job_name="nap",outcome="{outcome}"}}[{WINDOW_SECONDS}s]'
        rate = await asyncio.to_thread(fleet.prometheus.number, f"rate({series})", at)
        (samples,) = await asyncio.to_thread(fleet.prometheus.rows, series, at)
        first, last = float(samples["values"][0][0]), float(samples["values"][-1][0])
        between = "finished_at > to_timestamp(%s) AND finished_at <= to_timestamp(%s)"
        question = f"SELECT count(*) {NAPS} AND status = %s AND {between}"
        ((count,),) = await fleet.rows(question, outcome, first, last)
        assert rate is not None
        found[outcome] = (rate, count / (last - first))
    return found


def agree(said: float, is_so: float) -> bool:
    print(f"PromQL {said:.4f}, rows {is_so:.4f}: {abs(said - is_so) / is_so:.2%} apart")
    return abs(said - is_so) <= WITHIN * is_so


def bucket_of(value: float, bounds: tuple[float, ...]) -> tuple[float, float]:
    return next((low, high) for low, high in pairwise((0.0, *bounds)) if low < value <= high)


@pytest.mark.parametrize("outcome", ["Completed", "Errored"])
async def test_a_rate_in_the_middle_of_the_load_is_that_of_the_rows(
    outcome: str, rates: dict[str, tuple[float, float]]
) -> None:
    said, is_so = rates[outcome]
    assert agree(said, is_so)


@pytest.mark.usefixtures("rates")
async def test_every_outcome_is_counted_as_often_as_it_is_stored(fleet: Fleet) -> None:
    counted = fleet.prometheus.numbers("sum by (outcome) (headcount_jobs_finished_total)", "outcome")
    stored = dict(await fleet.rows("SELECT status, count(*) FROM job GROUP BY status"))
    ((retried,),) = await fleet.rows("SELECT count(*) FROM failed_attempt WHERE kind = 'Raised' AND attempt = 1")
    ((errored_at_once,),) = await fleet.rows(f"SELECT count(*) {NAPS} AND status = 'Errored'")
    print(counted)
    assert {word: count for word, count in counted.items() if count} == {
        **stored,
        "Retried": retried - errored_at_once,
    }


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize(
    ("metric", "column"), [("job_duration", DURATION), ("queue_delay", DELAY)], ids=["duration", "delay"]
)
async def test_a_mean_is_that_of_the_rows(fleet: Fleet, metric: str, column: str) -> None:
    series = f'headcount_{metric}_seconds_sum{{job_name="nap"}} / headcount_{metric}_seconds_count'
    said = await fleet.number(series)
    ((is_so,),) = await fleet.rows(f"SELECT avg({column}) {NAPS}")
    assert said is not None
    assert agree(said, is_so)


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("share", [0.3, 0.5, 0.75, 0.95])
@pytest.mark.parametrize(
    ("metric", "column", "bounds"),
    [("job_duration", DURATION, DURATION_BUCKETS), ("queue_delay", DELAY, QUEUE_BUCKETS)],
    ids=["duration", "delay"],
)
async def test_a_quantile_lies_in_the_bucket_of_the_rows(
    fleet: Fleet, metric: str, column: str, bounds: tuple[float, ...], share: float
) -> None:
    buckets = f'sum by (le) (rate(headcount_{metric}_seconds_bucket{{job_name="nap"}}[10m]))'
    said = await fleet.number(f"histogram_quantile({share}, {buckets})")
    below, above = share - WITHIN, share + WITHIN
    question = f"SELECT percentile_disc(ARRAY[{below}, {share}, {above}]) WITHIN GROUP (ORDER BY {column}) {NAPS}"
    (((low, is_so, high),),) = await fleet.rows(question)
    assert said is not None
    print(f"PromQL {said:.3f}, rows {is_so:.3f}")
    assert bucket_of(low, bounds)[0] <= said <= bucket_of(high, bounds)[1]


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize(
    ("metric", "column", "bounds"),
    [("job_duration", DURATION, (0.1, 0.5, 1.0, 5.0)), ("queue_delay", DELAY, (1.0, 2.5, 5.0, 10.0))],
    ids=["duration", "delay"],
)
async def test_every_bucket_holds_as_many_jobs_as_the_rows_say(
    fleet: Fleet, metric: str, column: str, bounds: tuple[float, ...]
) -> None:
    counted = fleet.prometheus.numbers(f'headcount_{metric}_seconds_bucket{{job_name="nap"}}', "le")
    ((jobs,),) = await fleet.rows(f"SELECT count(*) {NAPS}")
    for bound in bounds:
        ((stored,),) = await fleet.rows(f"SELECT count(*) {NAPS} AND {column} <= {bound}")
        print(f"<= {bound} s: PromQL {counted[str(bound)]}, rows {stored} of {jobs}")
        assert abs(counted[str(bound)] - stored) <= WITHIN * jobs
    assert counted["+Inf"] == jobs
