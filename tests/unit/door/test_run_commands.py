"""Handlers that start something, in the testing kit: a program really runs, an execution of Cloud Run does not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from daemon import CloudRunJob, job
from daemon.testing import HandlerFailed, run_handler
from handlers.compress_file import compress_file


async def test_the_program_of_a_handler_runs_in_its_test(tmp_path: Path) -> None:
    file = tmp_path / "-file.txt"
    file.write_text("a line\n" * 1000)
    assert await run_handler(compress_file, {"path": str(file), "level": 9}) is None
    assert gzip.decompress(file.with_name("-file.txt.gz").read_bytes()) == file.read_bytes()


async def test_a_program_that_fails_fails_its_test_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(HandlerFailed, match=r"exit code 1: gzip: .*missing: No such file"):
        await run_handler(compress_file, {"path": str(tmp_path / "missing")})


async def test_a_handler_for_cloud_run_is_not_executed_in_a_test() -> None:
    @job("render", executor="cloud_run_job")
    def render(params: dict[str, object]) -> CloudRunJob:
        return CloudRunJob("projects/p/locations/r/jobs/render")

    with pytest.raises(ValueError, match="test the CloudRunJob it returns"):
        await run_handler(render, {})
