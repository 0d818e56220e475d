"""Log lines: their shape for Cloud Logging, what is masked, and that nothing is said per job."""

import asyncio
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

import pytest
import structlog

from daemon.errors import PublishFailed, StoreUnavailable
from daemon.job import Kind, Refusal, Settled
from daemon.observe import BlockedLoop
from daemon.telemetry.limiter import Limiter
from daemon.telemetry.log_format import CURRENT
from daemon.telemetry.logs import Logs, configure
from daemon.telemetry.masking import TEXT_LIMIT, mask_text
from tests.unit.telemetry.samples import (
    CLAIM,
    COMPLETED,
    JOB,
    MESSAGE,
    ORCHESTRATION,
    TRACE,
    TRACEPARENT,
    WORKER,
    failed,
)

Lines = Callable[[], list[dict[str, object]]]
LABELS = "logging.googleapis.com/labels"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    token = CURRENT.set(None)
    yield
    CURRENT.reset(token)
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    configure("json", "info", project="p1", own=["handlers"], stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_fields_that_cloud_logging_reads(lines: Lines) -> None:
    Logs().settled(replace(CLAIM, traceparent=TRACEPARENT), failed(final=True), Settled.STORED)

    (line,) = lines()
    assert line["severity"] == "WARNING"
    assert line["message"] == "the job is Errored"
    assert datetime.fromisoformat(str(line["time"])).tzinfo is not None
    assert line["logging.googleapis.com/trace"] == f"projects/p1/traces/{TRACE}"
    assert line["logging.googleapis.com/spanId"] == "00f067aa0ba902b7"
    assert line[LABELS] == {
        "orchestration_id": str(ORCHESTRATION),
        "job_id": str(JOB),
        "job_name": "thumbnail",
        "attempt": "1",
    }
    assert (line["kind"], line["reason"]) == ("Raised", "boom")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_every_level_becomes_its_severity(stream: io.StringIO, level: str) -> None:
    configure("json", "debug", stream=stream)
    getattr(structlog.get_logger("headcount"), level)("hello")
    assert json.loads(stream.getvalue())["severity"] == level.upper()


def test_ten_thousand_good_jobs_write_no_line_at_info(lines: Lines) -> None:
    logs = Logs()
    for _ in range(10_000):
        logs.received(None)
        logs.started(CLAIM, 0.1)
        logs.settled(CLAIM, COMPLETED, Settled.STORED)
    logs.refused(MESSAGE, Refusal.FINISHED, None)
    logs.published("job", 100)
    logs.batch_committed("claim", 100, 0.01)
    logs.drained(0, 0.1)
    assert [line["message"] for line in lines()] == ["the worker has drained"]


def test_a_flood_of_failures_is_a_few_lines_and_a_sum(lines: Lines) -> None:
    logs = Logs(Limiter(burst=5, seconds=3600))
    for _ in range(1_000):
        logs.settled(CLAIM, failed(final=True), Settled.STORED)
    logs.settled(CLAIM, failed(Kind.TIMED_OUT, final=True), Settled.STORED)
    logs.drained(0, 1.0)

    messages = [line["message"] for line in lines()]
    assert messages.count("the job is Errored") == 6
    (summed,) = [line for line in lines() if "count" in line]
    assert summed["count"] == 995
    assert "Raised" in str(summed["like"])


def test_a_retried_failure_is_information_and_a_stale_outcome_a_warning(lines: Lines) -> None:
    logs = Logs()
    logs.settled(CLAIM, failed(), Settled.STORED)
    logs.settled(CLAIM, failed(final=True), Settled.STALE)
    assert [line["severity"] for line in lines()] == ["INFO", "WARNING"]
    assert "too late" in str(lines()[1]["message"])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("could not connect to postgresql://app:s3cr3t-w0rd@db/headcount", "s3cr3t-w0rd"),
        ("connection to postgresql://app:s3cr3t%40w0rd@10.0.0.1:5432/x failed", "s3cr3t"),
        ("redis://:s3cr3t@cache:6379", "s3cr3t"),
        ("Authorization: Bearer s3cr3t.s3cr3t-s3cr3t", "s3cr3t"),
        ("connect(password=s3cr3t, host=db)", "s3cr3t"),
        ("api_key: s3cr3t", "s3cr3t"),
    ],
)
def test_a_secret_in_a_text_is_masked_wherever_the_text_stands(lines: Lines, text: str, secret: str) -> None:
    Logs().database_unavailable("claim", StoreUnavailable(text), 1.0)
    structlog.get_logger("headcount.handler").info(text, note=text, nested={"a": [text]})
    logging.getLogger("psycopg.pool").warning("trouble: %s", text)
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        Logs().background_loop_failed("relay", error, 1.0)

    assert len(lines()) == 4
    assert secret not in json.dumps(lines())
    assert json.dumps(lines()).count("***") >= 6


def test_a_value_named_like_a_secret_is_masked_and_a_count_of_tokens_is_not(lines: Lines) -> None:
    log = structlog.get_logger("headcount.handler")
    log.info("hello", api_token="abc", settings={"db_password": "abc", "user": "me"}, prompt_tokens=345)

    (line,) = lines()
    assert line["api_token"] == "***"
    assert line["settings"] == {"db_password": "***", "user": "me"}
    assert line["prompt_tokens"] == 345


def test_a_handlers_log_goes_the_same_way_with_its_job(lines: Lines) -> None:
    log = structlog.get_logger("headcount.handler").bind(job_id=str(JOB), job_name="thumbnail", attempt=2)
    log.info("made %s of %s", 3, 6, size=200)

    (line,) = lines()
    assert line["message"] == "made 3 of 6"
    assert line["size"] == 200
    assert line[LABELS] == {"job_id": str(JOB), "job_name": "thumbnail", "attempt": "2"}


async def test_a_library_called_by_a_handler_is_named_with_the_job_until_its_task_ends(lines: Lines) -> None:
    logs, library = Logs(), logging.getLogger("some.library")

    async def attempt() -> None:
        logs.started(CLAIM, 0.0)
        library.warning("during")

    await asyncio.create_task(attempt())
    library.warning("after")

    during, after = lines()
    assert during[LABELS]["job_id"] == str(JOB)
    assert LABELS not in after


def test_a_line_of_the_worker_does_not_inherit_a_job_from_its_context(lines: Lines) -> None:
    logs = Logs()
    logs.started(CLAIM, 0.0)
    logs.database_available("claim", 3.0)
    assert LABELS not in lines()[0]


def test_libraries_speak_from_warning_on_and_the_handlers_package_from_info(lines: Lines) -> None:
    logging.getLogger("google.cloud.pubsub_v1.subscriber._protocol.heartbeater").info("noise")
    logging.getLogger("google.cloud.pubsub_v1").warning("a warning of theirs")
    logging.getLogger("handlers.thumbnail").info("a line of mine")

    assert [(line["message"], line["logger"]) for line in lines()] == [
        ("a warning of theirs", "google.cloud.pubsub_v1"),
        ("a line of mine", "handlers.thumbnail"),
    ]


def test_an_exception_is_a_stack_trace_without_local_variables(lines: Lines) -> None:
    hidden_local = "hunter2"
    try:
        raise ValueError("bad value" + hidden_local[:0])
    except ValueError as error:
        Logs().background_loop_failed("relay", error, 2.0)

    (line,) = lines()
    assert line["severity"] == "ERROR"
    assert str(line["stack_trace"]).startswith("Traceback (most recent call last):")
    assert "ValueError: bad value" in str(line["stack_trace"])
    assert "hunter2" not in str(line)


def test_values_that_json_does_not_know_and_names_that_are_taken_do_not_cost_the_line(lines: Lines) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    structlog.get_logger("headcount.handler").info("hello", what=Broken(), when=datetime(2026, 1, 1), severity="mine")
    (line,) = lines()
    assert line["severity"] == "INFO"
    assert line["severity_"] == "mine"
    assert line["what"] == "<Broken>"
    assert line["when"] == "2026-01-01 00:00:00"


def test_a_line_stays_one_line_and_a_huge_text_is_cut(lines: Lines, stream: io.StringIO) -> None:
    structlog.get_logger("headcount.handler").info("two\nlines", text="x" * 1_000_000)
    assert stream.getvalue().count("\n") == 1
    assert len(stream.getvalue()) < TEXT_LIMIT + 1_000
    assert lines()[0]["message"] == "two\nlines"


def test_the_console_form_is_for_people(stream: io.StringIO) -> None:
    configure("console", "info", stream=stream)
    Logs().settled(CLAIM, failed(message="boom password=s3cr3t", final=True), Settled.STORED)
    text = stream.getvalue()
    assert "the job is Errored" in text
    assert "thumbnail" in text
    assert "s3cr3t" not in text
    assert "{" not in text
    assert "\x1b" not in text, "no colours where nobody sees them"


def test_debug_says_what_became_of_each_job(stream: io.StringIO) -> None:
    configure("json", "debug", stream=stream)
    Logs().settled(CLAIM, COMPLETED, Settled.STORED)
    assert json.loads(stream.getvalue())["severity"] == "DEBUG"


def test_each_thing_that_matters_has_a_line_of_its_severity(lines: Lines) -> None:
    logs = Logs()
    logs.worker_registered(WORKER, "r7")
    logs.worker_declared_dead(WORKER)
    logs.draining(3, 6.0)
    logs.rejected("NoJobName", "the attribute job_name is missing")
    logs.claim_unresolved(MESSAGE)
    logs.nacked(3, "buffer_timeout")
    logs.publish_failed("event", 3, PublishFailed("no"))
    logs.dead_lettered(0, 0, 0)
    logs.dead_lettered(0, 1, 0)
    logs.stream_ended(None, 1.0)
    logs.rescued(WORKER, 3, 1, [JOB])
    logs.repaired("counters", 1)
    logs.jobs_released([uuid4()])
    logs.claim_lost(JOB, 1)
    logs.handler_stuck(CLAIM, 5.0)
    logs.heartbeat(0.01, 0.1)
    logs.heartbeat(0.01, 9.0)
    logs.heartbeat_failed(StoreUnavailable("no"))
    logs.event_loop_blocked(3.0, BlockedLoop(CLAIM, (), ("handlers/a.py:1 in press",)))
    logs.deadline_passed(ORCHESTRATION, 4)
    logs.item_rejected("settle", ValueError("NUL"))

    severities = "INFO ERROR INFO WARNING WARNING INFO WARNING WARNING INFO WARNING ERROR ERROR WARNING WARNING WARNING"
    severities += " WARNING WARNING WARNING ERROR"
    assert [line["severity"] for line in lines()] == severities.split()


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "://a:" * 200_000, "password " * 100_000, "basic " + "a" * 1_000_000]
)
def test_masking_stays_quick_whatever_a_handler_logs(text: str) -> None:
    began = time.thread_time()
    mask_text(text)
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("02", False)])
def test_a_trace_says_whether_it_is_sampled(lines: Lines, flags: str, sampled: bool) -> None:
    Logs().handler_stuck(replace(CLAIM, traceparent=TRACEPARENT[:-2] + flags), 3.0)
    assert lines()[0]["logging.googleapis.com/trace_sampled"] is sampled
