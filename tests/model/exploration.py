"""Every state that an explicit-state model can reach, with what may follow each.

Used by the models of one job's life (`limits`, `suspensions`), whose steps give (what happens, whether it is bound to
happen some time, the state after it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

S = TypeVar("S", bound=Hashable)
Graph = dict[S, list[tuple[bool, S]]]


def explored(
    first: S,
    steps: Callable[[S], Iterable[tuple[str, bool, S]]],
    limit: int,
    within: Callable[[S], bool] = lambda _: True,
) -> Graph[S]:
    """The states from `first` on, each with (fair, state after) of its steps; more than `limit` are an error.

    What is not `within` is left out, with all that follows it.
    """
    graph: Graph[S] = {}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        if state in graph or not within(state):
            continue
        assert len(graph) < limit, "the model has too many states"
        graph[state] = [(fair, after) for _, fair, after in steps(state)]
        waiting.extend(after for _, after in graph[state] if after not in graph)
    return graph
