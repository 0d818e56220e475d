"""Which files the demo works on, and where its manifest goes.

Called by `headcount demo`. It opens nothing but an older manifest: whether a file can be read is the job's business.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 256 * 1024 * 1024
MOST = 10_000
LEFT_OUT = {
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".tox",
    ".headcount",
    "build",
    "dist",
}
MANIFEST = "manifest.json"


@dataclass
class Chosen:
    """Paths relative to the folder, and why others were left out: reason -> how many."""

    paths: list[str] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)

    def pass_over(self, reason: str) -> None:
        """Count one that is left out."""
        self.passed_over[reason] = self.passed_over.get(reason, 0) + 1


def choose(folder: Path) -> Chosen:
    """The ordinary files below a folder, sorted by their paths, without caches and version control."""
    chosen = Chosen()
    for path in _walk(folder):
        if len(chosen.paths) == MOST:
            chosen.pass_over(f"beyond the first {MOST}")
            break
        reason = _objection(path, folder)
        if reason is None:
            chosen.paths.append(str(path.relative_to(folder)))
        elif reason:
            chosen.pass_over(reason)
    return chosen


def manifest_place(here: Path, kept: Path) -> Path:
    """`manifest.json` here; in the kept folder if that would overwrite somebody else's, or can't be written."""
    mine = here / MANIFEST
    writable = os.access(here, os.W_OK)
    return mine if writable and (not os.path.lexists(mine) or _is_ours(mine)) else kept / MANIFEST


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        yield from (Path(root, name) for name in sorted(files))


def _is_left_out(name: str) -> bool:
    return name in LEFT_OUT or name.endswith(("_cache", ".egg-info"))


def _objection(path: Path, folder: Path) -> str | None:
    """Why not this one; "" when it is not worth a word."""
    try:
        facts = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(facts.st_mode):
        return "not a regular file" if not stat.S_ISLNK(facts.st_mode) else ""
    if path == folder / MANIFEST and _is_ours(path):
        return ""
    if facts.st_size > LARGEST:
        return f"larger than {LARGEST >> 20} MiB"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "name is not UTF-8, which JSON requires"
    return None


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() == {"files", "bytes", "entries"}
