"""`make setup`: from nothing but Python and make, again in no time, and with a word about what is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.checkout import REPOSITORY, copy_of_the_sources
from tests.harness.needs import needs


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make there, with no environment of a developer's own."""
    environment = {
        name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE"))
    }
    environment["PATH"] = path or os.environ["PATH"]
    return subprocess.run(
        [str(needs("make")), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, and no environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def stand_in_python(folder: Path, *, new_enough: bool, has_venv: bool) -> Path:
    """A program that answers the questions of the Makefile like a certain Python."""
    program = folder / "python-stand-in"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"*version_info*) exit {0 if new_enough else 1};;\n"
        f"*ensurepip*) exit {0 if has_venv else 1};;\n"
        '-V) echo "Python 3.9.2";;\n'
        "*) exit 3;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return program


def test_an_old_python_is_refused_with_both_versions(bare: Path) -> None:
    done = make(bare, "setup", f"PYTHON={stand_in_python(bare, new_enough=False, has_venv=True)}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stdout
    assert "Python 3.9.2" in done.stdout
    assert not (bare / ".venv").exists()


def test_a_python_without_venv_is_refused_with_the_command_that_fixes_it(bare: Path) -> None:
    done = make(bare, "setup", f"PYTHON={stand_in_python(bare, new_enough=True, has_venv=False)}")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stdout
    assert not (bare / ".venv").exists()


def test_a_machine_without_any_python_is_told_so(bare: Path) -> None:
    tools = bare / "tools"
    tools.mkdir()
    for name in ("bash", "awk", "echo", "touch"):
        (tools / name).symlink_to(shutil.which(name) or "/bin/false")
    done = make(bare, "setup", path=str(tools))
    assert done.returncode != 0
    assert "needs Python 3.11 or newer, and none of python3" in done.stdout


def test_help_is_what_plain_make_shows_and_needs_no_environment(bare: Path) -> None:
    done = make(bare)
    assert done.returncode == 0
    for target in ("setup", "demo", "test", "stress", "check", "format", "conformance", "chaos", "bench", "lock"):
        assert f"make {target} " in done.stdout
    assert not (bare / ".venv").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_from_nothing_it_makes_an_environment_once_and_again_only_after_a_change(tmp_path: Path) -> None:
    tree = copy_of_the_sources(tmp_path)
    first = make(tree, "setup")
    assert first.returncode == 0, first.stdout + first.stderr
    answer = subprocess.run([tree / ".venv/bin/headcount", "--help"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr

    stamp = tree / ".venv/.installed"
    made = stamp.stat().st_mtime_ns
    assert make(tree, "setup").returncode == 0
    assert stamp.stat().st_mtime_ns == made

    os.utime(tree / "requirements.lock", ns=(made + 10**9, made + 10**9))
    assert make(tree, "--question", "setup").returncode == 1
