"""The memory limit and the memory of processes, read from what Linux showed on several kinds of systems."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.machine import memory_limit, memory_of_tree
from tests.harness.waiting import until

RECORDED = Path(__file__).parent / "recorded"
KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("system", "mebibytes"),
    [
        ("v2_container", 512),
        ("v2_service", 2048),
        ("v2_pod_and_container", 1024),
        ("v2_unlimited", None),
        ("v1_container", 256),
        ("v1_nested", 768),
        ("v1_unlimited", None),
        ("processes", None),
    ],
)
def test_the_least_limit_of_the_group_and_those_around_it_counts(system: str, mebibytes: int | None) -> None:
    assert memory_limit(RECORDED / system) == (None if mebibytes is None else mebibytes * MIB)


def test_a_process_takes_its_own_memory_and_that_of_all_it_has_started() -> None:
    assert memory_of_tree(20, RECORDED / "processes") == {
        20: 841_000 * KIB,
        31: 651_000 * KIB,
        32: 40_000 * KIB,
        40: 600_000 * KIB,
        41: 0,
    }


def test_a_system_with_one_number_for_all_kinds_of_memory_is_read_too() -> None:
    assert memory_of_tree(7, RECORDED / "one_number") == {7: 5_000 * KIB}


def test_without_such_files_nothing_is_known(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    assert memory_of_tree(1, tmp_path) == {1: 0}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
async def test_what_a_real_child_allocates_is_seen() -> None:
    held = "held = bytearray(b'x' * 50_000_000); input()"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", held, stdin=subprocess.PIPE)
    await until(lambda: memory_of_tree(os.getpid()).get(child.pid, 0) > 50_000_000)
    taken = memory_of_tree(os.getpid())
    assert taken[os.getpid()] > taken[child.pid]
    child.kill()
    await child.wait()
