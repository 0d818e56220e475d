"""A rate over two real workers: kept, with hardly a delivery more than there are jobs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.worker import WorkerProcess
from tests.system.commands import typed, with_handlers

HANDLERS = '''
"""Calls an account that allows so many calls in a time."""
import os

from daemon import Rate, job

PERIOD = float(os.environ["PERIOD"])


@job("call_account", limits=[Rate(100, per=PERIOD, key="params.account")])
async def call_account(params: dict) -> None:
    pass
'''


@pytest.mark.parametrize(
    ("jobs", "period"),
    [(150, 2.5), pytest.param(10_000, 0.6, marks=pytest.mark.long, id="10,000 jobs, a minute for a hundredth of it")],
)
async def test_a_rate_is_kept_and_no_job_is_delivered_much_before_its_turn(
    database_url: str, project: str, pubsub: str, tmp_path: Path, jobs: int, period: float
) -> None:
    settings = with_handlers(HANDLERS, tmp_path, database_url, project, pubsub)
    environment = settings | {"PERIOD": str(period)}
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(WorkerProcess(environment, tmp_path))
        client = await stack.enter_async_context(Client(load(environment)))
        started = await client.kick_off("call_account", [{"account": "a"}] * jobs)
        finished = await started.wait(30 + 3 * jobs * period / 100)
        assert (finished.completed, finished.errored) == (jobs, 0)

    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM max(started_at) - min(started_at)), sum(publishes),"
            " (SELECT count(*) FROM redelivery) FROM job"
        ).fetchone()
    assert row is not None
    took, published, delivered_again = row
    assert published + delivered_again <= 1.2 * jobs
    ideal = (jobs - 1) * period / 100
    # What starts is published by the second, so the first and the last may be a second off.
    assert ideal * 0.95 - 1 <= took <= ideal * 1.05 + 1
    typed("verify", environment=environment)
