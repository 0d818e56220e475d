"""Loads the shared fixtures, and turns skips into failures where everything is required.

Read by pytest for every test. It holds no fixture of its own: those are in tests/harness.
"""

import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest

from tests.harness.needs import everything_is_required, is_excused

# Before anything imports grpc: a test that starts a process forks, and grpc's own threads do not survive that.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# A shell ignores these for what it starts in the background, and every command under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

pytest_plugins = ["tests.harness.servers", "tests.harness.parallel"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under REQUIRE_ALL=1 a skipped test has failed, with the skip's reason."""
    report = yield
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself."""
    report = yield
    return _judged(report)


def _judged(report: R) -> R:
    expected_failure = hasattr(report, "wasxfail")
    if everything_is_required() and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_excused(reason):
            report.outcome = "failed"
            report.longrepr = f"REQUIRE_ALL=1, but this was skipped. {reason}"
    return report
