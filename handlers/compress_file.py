"""`compress_file`: an existing program as a job, unchanged: `gzip` writes FILE.gz beside a file.

One instance per file. Safe to repeat: the same file is compressed again, and a gzip that is stopped removes what it has
begun. docs/commands.md says what a program is given and what it can say.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, Field

from daemon import Command, job


class CompressFile(BaseModel):
    """Which file, as the worker sees it: absolute, or relative to the worker's current folder."""

    path: Path = Field(description="the file; it is kept")
    level: int = Field(6, ge=1, le=9, description="1 is fast, 9 is small")


@job("compress_file", executor="command", max_attempts=2, timeout=timedelta(minutes=30))
def compress_file(params: CompressFile) -> Command:
    """The arguments of gzip: no shell reads them, and after `--` none is an option."""
    return Command(["gzip", f"-{params.level}", "--keep", "--force", "--", params.path])
