"""`build_manifest`: one JSON file that lists what `checksum_file` found.

One instance, with the results of a finished orchestration. Safe to repeat: the file appears whole or not at all, and
the same entries make the same file.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import BaseModel, Field

from daemon import GiveUp, JobContext, job


class Entry(BaseModel):
    """One file, as `checksum_file` returned it."""

    path: str
    sha256: str
    size: int
    lines: int


class BuildManifest(BaseModel):
    """Where to write it, and what it shall hold."""

    target: Path = Field(description="the manifest to write; its folder must exist")
    entries: list[Entry]


@job("build_manifest", max_attempts=5, timeout=timedelta(minutes=5))
def build_manifest(params: BuildManifest, ctx: JobContext) -> dict[str, object]:
    """Write the entries, sorted by path, under a temporary name and then rename the file."""
    ctx.progress(0, len(params.entries), f"writing {params.target.name}")
    entries = sorted(params.entries, key=lambda entry: entry.path)
    total = sum(entry.size for entry in entries)
    manifest = {"files": len(entries), "bytes": total, "entries": [entry.model_dump() for entry in entries]}
    try:
        _write(params.target, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise GiveUp(f"{params.target} can't be written: {error.strerror}") from error
    return {"target": str(params.target), "files": len(entries), "bytes": total}


def _write(target: Path, text: str) -> None:
    with NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise
