"""Which files the demo takes, and where it may write its manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from daemon.cli.demo_jobs import choose, manifest_path

OURS = json.dumps({"files": 0, "bytes": 0, "entries": []})


def test_it_takes_ordinary_files_in_order_and_no_caches(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.txt", ".git/x", ".venv/x", "__pycache__/x.pyc", ".mypy_cache/x", "x.egg-info/y"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert choose(tmp_path).paths == ["b.txt", "a/c.txt"]


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    chosen = choose(tmp_path, largest=1024 * 1024)
    assert chosen.paths == []
    assert sorted(chosen.skipped.values()) == [1, 1, 1]
    assert "larger than 1 MiB" in chosen.skipped


def test_a_huge_folder_ends_at_a_number_it_says(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").touch()
    chosen = choose(tmp_path, most=3)
    assert chosen.paths == ["0", "1", "2"]
    assert chosen.skipped == {"beyond the first 3": 1}


def test_the_manifest_comes_here_also_instead_of_an_older_one_which_is_not_an_input(tmp_path: Path) -> None:
    here, data = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    assert manifest_path(here, data) == here / "manifest.json"
    (here / "manifest.json").write_text(OURS)
    assert manifest_path(here, data) == here / "manifest.json"
    assert choose(here).paths == []


@pytest.mark.parametrize("theirs", ['{"name": "app"}', "[]", "no json", '{"files": 1}'])
def test_a_manifest_of_somebody_else_is_an_input_and_stays(tmp_path: Path, theirs: str) -> None:
    (tmp_path / "manifest.json").write_text(theirs)
    assert manifest_path(tmp_path, tmp_path / "data") == tmp_path / "data" / "manifest.json"
    assert choose(tmp_path).paths == ["manifest.json"]
