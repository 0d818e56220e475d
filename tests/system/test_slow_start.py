"""A worker whose event loop begins later than its first heartbeat is due works like any other."""

import os
import re
from pathlib import Path

import pytest

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess

SLOW = """
import time, uvloop

def slowly(real=uvloop.new_event_loop, pauses=[1.5]):
    time.sleep(pauses.pop() if pauses else 0)  # the worker's own loop is the first
    return real()

uvloop.new_event_loop = slowly
"""


def lags(worker: WorkerProcess) -> tuple[float, float]:
    """How often the event loop was asked, and for how many seconds in all its answer was missing."""
    text = worker.body_of("/metrics")
    series = r'^headcount_event_loop_lag_seconds_%s\{pool="default"\} (\S+)$'
    found = [re.search(series % part, text, re.M) for part in ("count", "sum")]
    return (float(found[0][1]), float(found[1][1])) if found[0] and found[1] else (0.0, 0.0)


@pytest.mark.alone
async def test_the_event_loop_of_a_worker_that_started_slowly_is_heard(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    path = f"{tmp_path}{os.pathsep}{provisioned['PYTHONPATH']}"
    environment = {**provisioned, "PYTHONPATH": path, "HEADCOUNT_WORKER_TTL_SECONDS": "3"}  # a heartbeat a second
    async with WorkerProcess(environment, tmp_path) as worker:
        await until(lambda: lags(worker)[0] >= 5, what="the loop was asked five times")
        asked, missing = lags(worker)
        assert missing < 1.0, f"asked {asked} times, no answer for {missing} s in all"
