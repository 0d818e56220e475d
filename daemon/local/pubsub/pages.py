"""Pages of a list: the page_size and page_token of the List calls.

Called by both services. A token is the number of items that came before; it must not be expected to survive changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from daemon.local.pubsub.rpc_error import invalid

Item = TypeVar("Item")

MAX_PAGE = 1000


def page(items: Sequence[Item], size: int, token: str) -> tuple[Sequence[Item], str]:
    """The page after `token` and the token of the next one, empty at the end."""
    if token and not token.isdecimal():
        raise invalid(f"Invalid page token: {token}.")
    start = int(token or 0)
    end = start + (size if 0 < size <= MAX_PAGE else MAX_PAGE)
    return items[start:end], str(end) if end < len(items) else ""
