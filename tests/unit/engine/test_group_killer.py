"""The process that kills what is left of a worker's children: the groups it was told of, and no other."""

from __future__ import annotations

import signal
import subprocess

import pytest

from daemon.engine.executors.process.group_killer import GroupKiller


def a_group() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


def test_at_its_end_the_groups_that_are_left_are_killed_and_no_others() -> None:
    left, discarded, killer = a_group(), a_group(), GroupKiller()
    for group in (left, discarded):
        killer.add(group.pid)
    killer.discard(discarded.pid)
    killer.close()
    assert left.wait(10) == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        discarded.wait(0.05)
    discarded.kill()
    discarded.wait()


def test_without_groups_there_is_no_process_and_a_group_that_is_gone_is_no_error() -> None:
    killer = GroupKiller()
    killer.discard(1)
    killer.close()
    gone = a_group()
    gone.kill()
    gone.wait()
    killer.add(gone.pid)
    killer.close()
    killer.close()
