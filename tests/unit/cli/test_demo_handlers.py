"""The two handlers of the demo, without any server."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import cast

import pytest

from daemon import GiveUp, JobContext, Stopped
from handlers.build_manifest import BuildManifest, Entry, build_manifest
from handlers.checksum_file import BLOCK, ChecksumFile, checksum_file
from tests.harness.checkout import REPOSITORY


class Context:
    """What a handler says and asks while it runs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.said: list[tuple[float, float]] = []
        self._left = stop_after

    def progress(self, current: float, total: float, message: str) -> None:
        self.said.append((current, total))

    def stop_point(self) -> None:
        if self._left == 0:
            raise Stopped("Draining")
        if self._left is not None:
            self._left -= 1


def as_context(context: Context) -> JobContext:
    return cast(JobContext, context)


def test_a_checksum_has_the_digest_the_size_and_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree")
    assert checksum_file(ChecksumFile(path=path), as_context(Context())) == {
        "path": str(path),
        "sha256": hashlib.sha256(b"one\ntwo\nthree").hexdigest(),
        "size": 13,
        "lines": 2,
    }


def test_a_big_file_reports_its_progress_to_the_end_and_a_small_one_is_silent(tmp_path: Path) -> None:
    path, big = tmp_path / "big", 9 * BLOCK + 5
    with path.open("wb") as file:
        file.truncate(big)
    context = Context()
    checksum_file(ChecksumFile(path=path), as_context(context))
    assert context.said[-1] == (big, big)
    assert [done for done, _ in context.said] == sorted(done for done, _ in context.said)

    (tmp_path / "small").write_text("small")
    quiet = Context()
    checksum_file(ChecksumFile(path=tmp_path / "small"), as_context(quiet))
    assert quiet.said == []


def test_a_checksum_stops_between_two_blocks_when_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(4 * BLOCK)
    with pytest.raises(Stopped):
        checksum_file(ChecksumFile(path=path), as_context(Context(stop_after=2)))


def test_what_can_not_be_read_is_given_up_and_never_retried(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(GiveUp, match="can't be read"):
            checksum_file(ChecksumFile(path=path), as_context(Context()))


def entry(path: str, size: int) -> Entry:
    return Entry(path=path, sha256="0" * 64, size=size, lines=1)


def test_the_manifest_is_the_same_file_for_the_same_entries_in_any_order(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    entries = [entry("b", 2), entry("a", 1)]
    told = build_manifest(BuildManifest(target=one, entries=entries), as_context(Context()))
    build_manifest(BuildManifest(target=other, entries=entries[::-1]), as_context(Context()))
    assert told == {"target": str(one), "files": 2, "bytes": 3}
    assert one.read_bytes() == other.read_bytes()
    assert [listed["path"] for listed in json.loads(one.read_text())["entries"]] == ["a", "b"]


def test_the_manifest_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "manifest.json"
    target.write_text("the old one")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        build_manifest(BuildManifest(target=target, entries=[]), as_context(Context()))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert target.read_text() == "the old one"


def test_a_manifest_for_a_folder_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(GiveUp, match="can't be written"):
        build_manifest(BuildManifest(target=tmp_path / "no" / "m.json", entries=[]), as_context(Context()))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "handlers").glob("*.py")), ids=lambda path: path.name)
def test_handlers_import_only_the_door_of_headcount(path: Path) -> None:
    modules = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert [name for name in modules if name.startswith("daemon.")] == []
