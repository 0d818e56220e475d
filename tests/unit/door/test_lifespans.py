"""Lifespans: which are found, which are refused, and that each is made once and closed in reverse."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from daemon.engine.resources import Resources
from daemon.errors import HandlersInvalid
from daemon.registry import Registry, discover
from tests.unit.door.packages import IMPORTS, a_package

SHARED = (
    IMPORTS
    + """
from collections.abc import AsyncIterator
from daemon import lifespan

told = []

class Pool: ...
class Model: ...
class Unused: ...

@lifespan
async def pool() -> AsyncIterator[Pool]:
    told.append("pool opened")
    try:
        yield Pool()
    finally:
        told.append("pool closed")

@lifespan
async def model() -> AsyncIterator[Model]:
    told.append("model opened")
    yield Model()
    told.append("model closed")

@lifespan
async def unused() -> AsyncIterator[Unused]:
    raise RuntimeError("nobody asks for it")
    yield Unused()

@job("paint")
async def paint(params: dict, ctx: JobContext, model: Model, pool: Pool) -> None: ...

@job("scan")
def scan(params: dict, pool: Pool) -> None: ...
"""
)


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def found(folder: Path, source: str) -> tuple[Registry, object]:
    package = a_package(folder, paint=source)
    return discover([package], folder), sys.modules[f"{package}.paint"]


async def test_each_is_made_once_given_by_type_and_closed_in_reverse(tmp_path: Path) -> None:
    registry, module = found(tmp_path, SHARED)
    paint, scan = registry.find("paint"), registry.find("scan")
    assert paint is not None
    assert scan is not None
    assert (paint.wants_context, scan.wants_context) == (True, False)
    resources = Resources(registry, registry.lifespans)
    told: list[str] = vars(module)["told"]
    async with resources.opened():
        assert told == ["pool opened", "model opened"], "what no handler asks for is not made"
        model, pool = resources.of(paint)
        assert [type(value).__name__ for value in (model, pool)] == ["Model", "Pool"]
        assert resources.of(scan) == (pool,)
    assert told == ["pool opened", "model opened", "model closed", "pool closed"]


async def test_one_that_can_not_be_made_is_refused_and_the_others_are_closed(tmp_path: Path) -> None:
    broken = SHARED.replace('told.append("model opened")', 'raise OSError("no file")')
    registry, module = found(tmp_path, broken)
    with pytest.raises(HandlersInvalid, match=r"paint\.py:\d+: OSError: no file"):
        async with Resources(registry, registry.lifespans).opened():
            pass
    assert vars(module)["told"] == ["pool opened", "pool closed"]


async def test_one_that_does_not_end_is_left_after_a_moment(tmp_path: Path) -> None:
    registry, _ = found(
        tmp_path, SHARED.replace('told.append("model closed")', "import asyncio; await asyncio.Event().wait()")
    )
    async with asyncio.timeout(10), Resources(registry, registry.lifespans).opened():
        pass


REFUSED = {
    "no generator": "@lifespan\nasync def x() -> AsyncIterator[int]:\n    return 1",
    "plain": "@lifespan\ndef x():\n    yield 1",
    "with parameters": "@lifespan\nasync def x(a: int) -> AsyncIterator[int]:\n    yield 1",
    "without a type": "@lifespan\nasync def x():\n    yield 1",
    "another type": "@lifespan\nasync def x() -> int:\n    yield 1",
    "two of one type": "@lifespan\nasync def x() -> AsyncIterator[Pool]:\n    yield Pool()",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_not_be_used_is_refused_with_file_and_line(kind: str, tmp_path: Path) -> None:
    source = SHARED + REFUSED[kind]
    with pytest.raises(HandlersInvalid, match=rf"paint\.py:{len(SHARED.splitlines()) + 1}"):
        found(tmp_path, source)
