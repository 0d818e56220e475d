"""The list of checks. A check is a function of a bench that returns what it saw, or raises `Failed`.

Filled by the decorator in the other files of this folder, read by the jury and by pytest.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.contract.pubsub.bench import Bench

Body = Callable[[Bench], str]


@dataclass(frozen=True)
class Check:
    """`alone`: measures speed, so nothing else may run beside it. `limit`: seconds until it counts as hung."""

    name: str
    run: Body
    alone: bool
    limit: float


CHECKS: list[Check] = []


def check(body: Body) -> Body:
    CHECKS.append(Check(body.__name__, body, alone=False, limit=60))
    return body


def speed_check(body: Body) -> Body:
    """The numbers are the point; it passes when everything arrived, once."""
    CHECKS.append(Check(body.__name__, body, alone=True, limit=150))
    return body
