"""The doctor's checks of the worker: times, packages, port, signals and memory, each silent and speaking."""

import signal
import socket
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from daemon.context import JobContext
from daemon.doctor import platform, worker
from daemon.doctor.finding import Finding, Severity
from daemon.registry import Handler, handler_of, job
from daemon.settings import Settings, load
from tests.fakes.delivery import a_handler


def settings(**values: object) -> Settings:
    given: dict[str, object] = {"project": "p", "http_host": "127.0.0.1", **values}
    return load({}, database_url="postgresql://u@h/d", **given)  # type: ignore[arg-type]  # `without` is not among them


def handler(timeout: timedelta | None, *, context: bool = False) -> Handler:
    if context:

        @job("resize", timeout=timeout)
        async def resize(params: dict[str, object], ctx: JobContext) -> None: ...

        return handler_of(resize)

    @job("resize", timeout=timeout)
    async def crop(params: dict[str, object]) -> None: ...

    return handler_of(crop)


def severities(findings: Iterator[Finding]) -> list[Severity]:
    return [finding.severity for finding in findings]


def test_a_short_handler_needs_no_context() -> None:
    assert severities(worker.check_handlers([handler(timedelta(seconds=6))], settings())) == []


def test_a_long_handler_that_listens_is_fine() -> None:
    assert severities(worker.check_handlers([handler(timedelta(hours=5), context=True)], settings())) == []


@pytest.mark.parametrize(
    ("timeout", "severity", "word"),
    [
        (None, Severity.ADVICE, "has no timeout"),
        (timedelta(seconds=7), Severity.ADVICE, "takes no context"),
        (timedelta(days=8), Severity.LOSES_WORK, "may run for 8 days"),
    ],
)
def test_a_handler_whose_time_fits_badly_is_named(timeout: timedelta, severity: Severity, word: str) -> None:
    (finding,) = worker.check_handlers([handler(timeout)], settings())
    assert finding.severity is severity
    assert word in finding.what
    assert "resize" in finding.what


def test_a_lease_shorter_than_the_life_of_a_worker_is_advised_against() -> None:
    assert severities(worker.check_times(settings())) == []
    (finding,) = worker.check_times(settings(lease_seconds=20))
    assert finding.fix == "export HEADCOUNT_LEASE_SECONDS=60"


def test_the_port_of_a_worker_that_runs_here_is_not_held_against_it() -> None:
    class Ours(BaseHTTPRequestHandler):
        server_version = "headcount"

        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Ours) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert list(worker.check_port(settings(http_port=server.server_address[1]))) == []
        server.shutdown()


def test_a_port_of_somebody_else_is_fatal() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (finding,) = worker.check_port(settings(http_port=other.getsockname()[1]))
    assert finding.severity is Severity.FATAL


def test_what_headcount_needs_is_installed_here() -> None:
    assert list(worker.check_packages()) == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import distribution

    class Ours:
        requires = ("anyio>=4.9", "no-such-thing[x]>=1", "windows-only; sys_platform == 'win32'", "extra; extra == 'a'")

    monkeypatch.setattr(worker, "distribution", lambda name: Ours() if name == "headcount" else distribution(name))
    (finding,) = worker.check_packages()
    assert finding.what == "Packages that Headcount needs are not installed: no-such-thing."


def test_traces_that_nobody_can_send_are_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
    assert list(worker.check_tracing({})) == []
    assert list(worker.check_tracing(asked)) == []
    monkeypatch.setattr(worker, "find_spec", lambda name: None)
    (finding,) = worker.check_tracing(asked)
    assert finding.fix == "pip install 'headcount[otel]'"


@pytest.mark.parametrize(
    ("parent", "name", "interactive", "found"),
    [(1, "bash", False, "bash"), (1, "bash", True, ""), (1, "tini", False, ""), (77, "bash", False, "")],
)
def test_only_a_shell_that_is_process_1_and_nobody_types_in_swallows_signals(
    tmp_path: Path, parent: int, name: str, interactive: bool, found: str
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "comm").write_text(f"{name}\n")
    assert platform.shell_above(parent, tmp_path, interactive=interactive) == found


def test_a_blocked_sigterm_is_found() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert any("SIGTERM is blocked" in finding.what for finding in platform.check_signals())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not any("SIGTERM is blocked" in finding.what for finding in platform.check_signals())


@pytest.mark.parametrize(
    ("mebibytes", "slots", "severities_found"),
    [(150, 1, [Severity.LOSES_WORK]), (256, 100, [Severity.ADVICE]), (512, 100, []), (2048, 1000, [])],
)
def test_the_memory_limit_is_compared_with_the_slots(
    mebibytes: int, slots: int, severities_found: list[Severity]
) -> None:
    limited = settings(slots=slots, memory_limit_mib=mebibytes)
    assert severities(platform.check_memory(limited, ())) == severities_found


def test_the_processes_of_handlers_count_against_the_memory_limit() -> None:
    def paint(params: dict[str, object]) -> None:
        pass

    def check(executor: str, process_slots: int) -> list[Severity]:
        handler = a_handler(paint, executor=executor)
        limited = settings(slots=10, memory_limit_mib=400, process_slots=process_slots)
        return severities(platform.check_memory(limited, [handler]))

    assert [check("thread", 8), check("process", 2)] == [[], []]
    assert check("process", 8) == [Severity.LOSES_WORK]


def test_without_a_limit_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert list(platform.check_memory(settings(), (), tmp_path)) == []
