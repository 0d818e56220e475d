"""The log of a handler in another process: what is sent to the worker, and how the worker writes it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from daemon.observe import LogLine
from daemon.telemetry.forwarding import forward
from daemon.telemetry.logs import Logs, configure
from tests.unit.telemetry.samples import CLAIM


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_lines_are_handed_on_with_their_level_values_and_traceback() -> None:
    sent: list[LogLine] = []
    forward(sent.append, "info", ["paint"])
    structlog.get_logger("paint").info("dried", name="x", job_id="told by the worker", bad="\ud800")
    structlog.get_logger("paint").debug("not shown")
    logging.getLogger("paint.roller").info("by %s", "hand")
    logging.getLogger("library").info("not shown")
    try:
        raise LookupError("no such colour")
    except LookupError:
        logging.getLogger("library").exception("it failed")
    *lines, failed = sent
    assert lines == [
        LogLine("paint", logging.INFO, "dried", {"name": "x", "bad": "?"}),
        LogLine("paint.roller", logging.INFO, "by hand", {}),
    ]
    assert failed.text == "it failed"
    assert failed.values["exception"].endswith("LookupError: no such colour")


def test_a_line_from_another_process_is_written_as_one_from_here() -> None:
    stream = io.StringIO()
    configure("json", "info", project="p1", own=["handlers"], stream=stream)
    logged = LogLine("handlers.paint", logging.WARNING, "50 % {done}", {"cups": "3"})
    Logs().handler_logged(CLAIM, logged)
    Logs().handler_logged(None, replace(logged, level=logging.DEBUG))
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["message"], line["severity"], line["logger"], line["cups"]) == (
        "50 % {done}",
        "WARNING",
        "handlers.paint",
        "3",
    )
    assert line["logging.googleapis.com/labels"]["job_id"] == str(CLAIM.job_id)
