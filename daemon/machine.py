"""What the machine gives and what is taken of it: CPUs, the limit of memory, the memory of processes.

Called by the service and by the doctor. It only reads, of Linux what is in /proc and /sys; elsewhere there is no limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 2**60
KIB = 1024


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_limit(root: Path = ROOT) -> int | None:
    """The least limit in bytes among this process's control group and those around it; None without one.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max), cgroup-v1/memory.html (memory.limit_in_bytes). In a
    container its own group is the root of what it sees, whatever /proc calls it.
    """
    limits = [_number(path) for path in _limit_files(root)]
    return min((limit for limit in limits if limit is not None and limit < UNLIMITED), default=None)


def memory_of_tree(pid: int, root: Path = ROOT) -> dict[int, int]:
    """Of a process and each of its descendants: the bytes that it and its own descendants take together.

    Counted is what the kernel can't take back: anonymous and shared memory, without the files that are mapped.
    """
    sizes: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for number, parent, size in _processes(root / "proc"):
        sizes[number] = size
        children.setdefault(parent, []).append(number)
    taken: dict[int, int] = {}
    _add_up(pid, sizes, children, taken)
    return taken


def _add_up(pid: int, sizes: dict[int, int], children: dict[int, list[int]], taken: dict[int, int]) -> int:
    taken[pid] = 0  # first: numbers that were given anew while they were read must not lead round in a circle
    below = sum(_add_up(child, sizes, children, taken) for child in children.get(pid, ()) if child not in taken)
    taken[pid] = sizes.get(pid, 0) + below
    return taken[pid]


def _processes(proc: Path) -> Iterator[tuple[int, int, int]]:
    """Each process, its parent, and its memory; a kernel need not list the children of one."""
    numbers = [int(name) for name in _names(proc) if name.isdigit()]
    for number in numbers:
        fields = dict(line.split(":", 1) for line in _lines(proc / str(number) / "status") if ":" in line)
        if "PPid" in fields:
            yield number, int(fields["PPid"]), _resident(fields)


def _resident(fields: Mapping[str, str]) -> int:
    """In kB; a system that does not tell the kinds apart has one number for all (proc_pid_status(5))."""
    kinds = ("RssAnon", "RssShmem") if "RssAnon" in fields else ("VmRSS",)
    return sum(int(fields[kind].split()[0]) for kind in kinds if kind in fields) * KIB


def _limit_files(root: Path) -> Iterator[Path]:
    groups = root / "sys" / "fs" / "cgroup"
    for line in _lines(root / "proc" / "self" / "cgroup") or ["0::/", "1:memory:/"]:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _up(groups / "memory", path, "memory.limit_in_bytes")


def _up(mount: Path, path: str, name: str) -> Iterator[Path]:
    group = mount / path.strip("/")
    while group != mount:
        yield group / name
        group = group.parent
    yield mount / name


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _lines(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _number(file: Path) -> int | None:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None
