"""Whether a worker has memory for another job, and which process ends when it has none left. Pure.

Asked by the engine's admission with what was measured last. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

ADMITTED_SHARE = 0.85
"""Up to this share of the limit jobs are taken: what a job grows to is known only after the first of its kind."""
EVICTION_SHARE = 0.95
"""From this share of the limit on a process is ended: the kernel would end any, the worker included, at the whole."""
SMALLEST_SHARE = 0.05
FORGETTING = 8


def admits(limit: int, used: int, expected: int, growth: int = 0) -> bool:
    """Whether a job that grows by `growth` has room, beside what is `used` and what running jobs will add to that."""
    return used + expected + growth <= ADMITTED_SHARE * limit


def left_to_grow(growth: int, start: int, now: int) -> int:
    """How much more a process will take that began its job with `start` and is known to grow by `growth` in it."""
    return max(0, start + growth - now)


def learned(known: int, grown: int) -> int:
    """How much a handler grows by, after a job of it grew by `grown`: the most, and slowly less if others need less."""
    return max(grown, known - (known - grown) // FORGETTING)


def to_evict(limit: int, used: int, processes: Sequence[int]) -> int | None:
    """The number of the process to end, the largest.

    None where there is room, where ending all of them would make none, and where the largest is too small to matter.
    """
    if used <= EVICTION_SHARE * limit or used - sum(processes) > EVICTION_SHARE * limit:
        return None
    largest = max(range(len(processes)), key=processes.__getitem__)
    return largest if processes[largest] >= SMALLEST_SHARE * limit else None
