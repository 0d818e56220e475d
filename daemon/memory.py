"""How much memory this worker may take, and how much it and its processes take: what Linux says in /proc and /sys.

Called by the service, for admission, and by the doctor. It only reads; where a system has neither, there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 2**60
KIB = 1024
FIELDS = ("RssAnon:", "RssShmem:")


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
    taken: dict[int, int] = {}
    _measure(pid, root / "proc", taken)
    return taken


def _measure(pid: int, proc: Path, taken: dict[int, int]) -> int:
    taken[pid] = 0  # first: a process id that is given anew meanwhile must not lead round in a circle
    total = _resident(proc / str(pid) / "status")
    for child in _children(proc / str(pid) / "task"):
        if child not in taken:
            total += _measure(child, proc, taken)
    taken[pid] = total
    return total


def _resident(status: Path) -> int:
    """In kB, by name; a system that does not tell the kinds apart has one number for all (proc_pid_status(5))."""
    with suppress(OSError):
        lines = (line.split() for line in status.read_text(encoding="utf-8", errors="replace").splitlines())
        sizes = {words[0]: int(words[1]) for words in lines if words[0] in (*FIELDS, "VmRSS:")}
        return sum(sizes.get(name, 0) for name in FIELDS if FIELDS[0] in sizes) * KIB or sizes.get("VmRSS:", 0) * KIB
    return 0


def _children(tasks: Path) -> Iterator[int]:
    """Of each thread: a child belongs to the one that started it."""
    with suppress(OSError):
        for task in tasks.iterdir():
            with suppress(OSError):  # the thread has ended
                yield from map(int, (task / "children").read_text(encoding="ascii").split())


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


def _lines(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text(encoding="utf-8").splitlines()
    return []


def _number(file: Path) -> int | None:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None
