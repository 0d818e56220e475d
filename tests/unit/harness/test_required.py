"""REQUIRE_ALL=1: a skip is a failure with its reason, for tests, fixtures and whole modules."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import needs as needs_module
from tests.harness.needs import NOT_IN_CI, PROGRAMS, needs

REPOSITORY = Path(__file__).resolve().parents[3]
SKIPPING = """
import pytest
from tests.harness.needs import needs

@pytest.fixture
def fixture_that_skips():
    pytest.skip("by its fixture")

@pytest.mark.skip(reason="by a mark")
def test_marked(): ...

def test_body(): needs("npm")

def test_fixture(fixture_that_skips): ...

@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_excused(): needs("terraform")

def test_passes(): ...
"""


def run_pytest(folder: Path, **variables: str) -> dict[str, int]:
    """How many tests had each outcome, in a run of its own with no program on PATH."""
    shutil.copy(REPOSITORY / "tests" / "conftest.py", folder / "conftest.py")
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "", **variables}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", said.splitlines()[-1])}


def test_without_it_a_skip_is_a_skip(tmp_path: Path) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    outcome = run_pytest(tmp_path)
    assert (outcome["passed"], outcome["skipped"], outcome["xfailed"]) == (1, 4, 1)
    assert "failed" not in outcome


def test_with_it_every_skip_fails_but_for_programs_that_ci_cannot_have(tmp_path: Path) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    outcome = run_pytest(tmp_path, REQUIRE_ALL="1")
    assert outcome["passed"] == outcome["skipped"] == outcome["xfailed"] == 1
    assert outcome.get("failed", 0) + outcome.get("errors", 0) + outcome.get("error", 0) == 3


def test_with_it_a_module_that_skips_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    assert "error" in run_pytest(tmp_path, REQUIRE_ALL="1")
    assert run_pytest(tmp_path).get("skipped") == 1


def test_a_missing_program_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module.shutil, "which", lambda name: None)
    with pytest.raises(pytest.skip.Exception, match=r"needs chromium \(apt install chromium\)"):
        needs("chromium")


def test_a_program_that_is_there_is_given_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module.shutil, "which", lambda name: f"/opt/{name}" if name == "nodejs" else None)
    assert needs("node") == Path("/opt/nodejs")


def test_only_known_programs_are_excused() -> None:
    assert NOT_IN_CI.keys() <= PROGRAMS.keys()
