"""What was left out of the log is summed up in a bounded number of lines, and none of it is uncounted."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from daemon.job import Settled
from daemon.telemetry.limiter import Limiter
from daemon.telemetry.logs import SUMMARY_LINES, Logs, configure
from tests.unit.telemetry.samples import CLAIM, MESSAGE, failed


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_flood_of_unknown_names_is_summed_up_in_a_few_lines_with_nothing_uncounted() -> None:
    configure("json", "info", stream=(stream := io.StringIO()))
    logs = Logs(Limiter(burst=1, seconds=3600))
    for number in range(900):
        for _ in range(1 + number % 7):
            logs.claim_unresolved(replace(MESSAGE, job_name=f"name {number}"))
            logs.settled(replace(CLAIM, job_name=f"name {number}"), failed(final=True), Settled.STORED)
    logs.drained(0, 1.0)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    sums = [line for line in lines if "count" in line]
    assert len(sums) <= SUMMARY_LINES + 1
    written = sum(
        line["message"] in ("the job is Errored", "a claim got no answer; the message goes back") for line in lines
    )
    assert sum(int(str(line["count"])) for line in sums) + written == 2 * sum(1 + number % 7 for number in range(900))
