"""`headcount bench`: it measures on servers of its own, prints its baselines and bars, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import psutil
import pytest

from daemon.bench.figures import Bar, Figure, Report, medians, percentile
from daemon.bench.suite import SCENARIOS, chosen
from daemon.bench.worker import Metrics

LONGEST = 300


def _bench(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command, environ = [sys.executable, "-m", "daemon", "bench", "--quick", *options], os.environ | environment
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST, env=environ
    )


@pytest.mark.long
@pytest.mark.timeout(LONGEST + 20)
def test_throughput_stands_beside_its_floors_and_keeps_the_bars_that_no_neighbour_can_break() -> None:
    with tempfile.TemporaryDirectory(prefix="hc-") as folder:  # its servers are known by it, beside another bench's
        done = _bench("--only", "throughput", "--json", TMPDIR=folder)
        left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert done.returncode in (0, 1), done.stderr
    figures = {one["name"]: one for one in json.loads(done.stdout)}
    assert figures["raw client drain"]["value"] > 0
    assert figures["bare claim and settlement"]["value"] > 0
    for name in ("commits", "WAL", "batches split"):
        assert figures[name]["passed"], figures[name]
    assert "fsync=on" in done.stderr
    assert "synchronous_commit=on" in done.stderr
    assert not [command for command in left if folder in " ".join(command or [])]


@pytest.mark.long
@pytest.mark.timeout(LONGEST + 20)
def test_an_idle_worker_starts_a_job_almost_as_soon_as_the_raw_client_gets_its_message() -> None:
    done = _bench("--only", "latency")
    assert done.returncode in (0, 1), done.stderr
    assert "difference of p50" in done.stdout
    assert "<= 15" in done.stdout


def test_an_unknown_scenario_is_a_usage_error_that_names_the_known_ones() -> None:
    done = _bench("--only", "everything")
    assert done.returncode == 2
    assert "throughput" in done.stderr


def test_all_scenarios_run_when_none_is_chosen_and_few_when_it_has_to_be_quick() -> None:
    assert chosen([], quick=False) == list(SCENARIOS)
    assert set(chosen([], quick=True)) < set(SCENARIOS)
    assert chosen(["soak"], quick=True) == ["soak"]


def test_the_median_of_runs_keeps_the_bar_and_tells_the_spread() -> None:
    runs = []
    for value in (1.0, 5.0, 2.0):
        report = Report("speed")
        report.put("ratio", value, least=1.5)
        runs.append(report.figures)
    (figure,) = medians(runs)
    assert figure == Figure("speed", "ratio", 2.0, "", Bar(at_least=1.5), (1.0, 5.0))
    assert figure.passed


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0


def test_the_median_batch_is_read_from_the_workers_own_histogram() -> None:
    text = (
        "# TYPE headcount_batch_items histogram\n"
        'headcount_batch_items_bucket{operation="claim",le="1.0"} 2\n'
        'headcount_batch_items_bucket{operation="claim",le="50.0"} 4\n'
        'headcount_batch_items_bucket{operation="claim",le="100.0"} 10\n'
        'headcount_batch_items_bucket{operation="claim",le="+Inf"} 10\n'
        'headcount_batch_items_sum{operation="claim"} 700\n'
        'headcount_batch_items_count{operation="claim"} 10\n'
    )
    metrics = Metrics.read(text)
    assert metrics.median_batch("claim") == 100.0
    assert metrics.mean_batch("claim") == 70.0
    assert metrics.median_batch("settle") == 0.0
