"""Both stores, one after the other, for every test of this folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.contract.store.grounds import Ground, in_memory, in_postgres

Open = Callable[[], AbstractAsyncContextManager[Ground]]


@pytest.fixture(params=["memory", "postgres"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a ground: `async with opened() as ground`."""
    if request.param == "memory":
        return in_memory
    url = request.getfixturevalue("database_url")
    return lambda: in_postgres(url)
