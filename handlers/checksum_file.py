"""`checksum_file`: the SHA-256, the size and the number of lines of one file.

One instance per file. A plain function, so it runs in a thread; it reports its progress on big files and stops between
two blocks when the worker wants it to.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, Field

from daemon import GiveUp, JobContext, job

BLOCK = 1024 * 1024
SPEAK_FROM = 8 * BLOCK


class ChecksumFile(BaseModel):
    """Which file, as the worker sees it: absolute, or relative to the worker's current folder."""

    path: Path = Field(description="the file")


@job("checksum_file", timeout=timedelta(minutes=30))
def checksum_file(params: ChecksumFile, ctx: JobContext) -> dict[str, object]:
    """Read the file once, block by block."""
    digest, size, lines = hashlib.sha256(), 0, 0
    try:
        with params.path.open("rb") as file:
            total = params.path.stat().st_size
            while block := file.read(BLOCK):
                ctx.stop_point()
                digest.update(block)
                size += len(block)
                lines += block.count(b"\n")
                if total >= SPEAK_FROM:
                    ctx.progress(size, total, f"{params.path.name}: {size >> 20} of {total >> 20} MiB")
    except OSError as error:  # missing, closed to us, a folder: another try would see the same
        raise GiveUp(f"{params.path} can't be read: {error.strerror or error}") from error
    return {"path": str(params.path), "sha256": digest.hexdigest(), "size": size, "lines": lines}
