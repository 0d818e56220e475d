"""Several processes for one run: what shares a fixture of its file stays together, and what measures runs alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness.checkout import REPOSITORY

TOGETHER = """
import os, pytest

@pytest.fixture(scope="module")
def made_once():
    with open("made", "a") as made:
        made.write("once\\n")

@pytest.mark.parametrize("number", range(12))
def test_together(made_once, number): ...
"""
SPREAD = """
import pytest, time
from pathlib import Path
from tests.harness.waiting import eventually

@pytest.mark.parametrize("name, other", [("a", "b"), ("b", "a")])
def test_meets_the_other(name, other):
    Path(name).touch()
    eventually(lambda: Path(other).exists())
"""
ALONE = """
import pytest, time
from pathlib import Path

@pytest.mark.parametrize("number", range(6))
def test_of_many(number):
    begin = time.monotonic()
    time.sleep(0.05)
    Path(f"many-{number}").write_text(f"{begin} {time.monotonic()}")

@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    begin = time.monotonic()
    time.sleep(0.05)
    Path(f"alone-{number}").write_text(f"{begin} {time.monotonic()}")
"""


def run_pytest(folder: Path, test: str, *options: str) -> str:
    """The closing line of a run with two processes (or what `options` say), in a folder of its own."""
    shutil.copy(REPOSITORY / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "test_some.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "--basetemp", "temporary"]
    done = subprocess.run(
        [*command, *(options or ("-n", "2", "."))],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_tests_that_share_what_their_file_makes_once_stay_in_one_process(tmp_path: Path) -> None:
    assert "12 passed" in run_pytest(tmp_path, TOGETHER)
    assert (tmp_path / "made").read_text() == "once\n"


def test_tests_of_one_file_that_share_nothing_run_side_by_side(tmp_path: Path) -> None:
    assert "2 passed" in run_pytest(tmp_path, SPREAD)


def test_no_other_test_is_under_way_beside_one_that_is_alone(tmp_path: Path) -> None:
    assert "8 passed" in run_pytest(tmp_path, ALONE)
    times = {path.name: tuple(map(float, path.read_text().split())) for path in tmp_path.glob("*-*")}
    assert len(times) == 8
    for name, (begin, end) in times.items():
        for other, (its_begin, its_end) in times.items():
            beside = name != other and begin < its_end and its_begin < end
            assert not (beside and "alone" in name), f"{name} ran beside {other}"


def test_a_single_test_is_run_without_further_processes(tmp_path: Path) -> None:
    assert re.search(
        "2 passed", run_pytest(tmp_path, TOGETHER, "-n", "auto", *[f"test_some.py::test_together[{n}]" for n in (0, 1)])
    )
    assert not list((tmp_path / "temporary").glob("popen-*"))
