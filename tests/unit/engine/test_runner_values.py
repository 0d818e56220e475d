"""What goes into a handler and what comes out: params of every type, results of every kind."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, field_validator, model_serializer
from typing_extensions import TypedDict

from daemon.job import Failed, Kind, Returned
from tests.fakes.delivery import a_claim
from tests.unit.engine.attempts import a_runner, failure, run_attempt


class Model(BaseModel):
    path: str
    sizes: list[int] = [1]


class Typed(TypedDict):
    path: str


@dataclass
class Plain:
    path: str
    since: date | None = None


class Strict(BaseModel):
    path: str

    @field_validator("path")
    @classmethod
    def _refuses(cls, value: str) -> str:
        raise {"exit": SystemExit(3), "key": KeyError("k"), "value": ValueError("not this one")}[value]


@pytest.mark.parametrize("kind", [Model, Typed, Plain, dict, dict[str, Any]])
async def test_params_are_of_the_annotated_type(kind: Any) -> None:
    seen: list[object] = []

    async def handler(params: object) -> None:
        seen.append(params)

    handler.__annotations__["params"] = kind
    assert await run_attempt(handler, claim=a_claim(params='{"path": "a"}')) == Returned("null")
    assert (seen[0]["path"] if isinstance(seen[0], dict) else seen[0].path) == "a"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Model, Typed, Plain])
async def test_params_that_do_not_fit_are_final_and_say_why(kind: Any) -> None:
    async def handler(params: object) -> None:
        raise AssertionError("it must not run")

    handler.__annotations__["params"] = kind
    result = await run_attempt(handler, claim=a_claim(params='{"sizes": []}'))
    assert "path" in failure(result, Kind.INVALID_PARAMS).message
    assert isinstance(result, Failed)
    assert result.final


@pytest.mark.parametrize("how", ["exit", "key", "value"])
async def test_a_validator_that_raises_anything_ends_the_attempt_only(how: str) -> None:
    async def handler(params: Strict) -> None:
        raise AssertionError("it must not run")

    result = await run_attempt(handler, claim=a_claim(params=f'{{"path": "{how}"}}'))
    failure(result, Kind.INVALID_PARAMS)
    assert isinstance(result, Failed)
    assert result.final


class Leaving(BaseModel):
    @model_serializer
    def _leave(self) -> dict[str, object]:
        raise SystemExit(3)


def _itself() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def _deep() -> object:
    value: object = None
    for _ in range(100_000):
        value = [value]
    return value


UNSTORABLE: dict[str, object] = {
    "NaN": float("nan"),
    "infinity": {"a": float("-inf")},
    "a NUL": "a\x00b",
    "a NUL in a key": {"a\x00": 1},
    "half a surrogate pair": "\ud800",
    "too large": "x" * 200_000,
    "a number too long": 10**5000,
    "itself": _itself(),
    "too deep": _deep(),
    "an object": object(),
    "bytes": b"\xff",
    "a class": Model,
    "a serializer that leaves": Leaving(),
}


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("name", UNSTORABLE)
async def test_a_result_that_cannot_be_stored_is_final(name: str, plain: bool) -> None:
    def handler(params: dict[str, object]) -> object:
        return UNSTORABLE[name]

    async def async_handler(params: dict[str, object]) -> object:
        return UNSTORABLE[name]

    result = await run_attempt(handler if plain else async_handler)
    failure(result, Kind.RESULT_NOT_STORABLE)
    assert isinstance(result, Failed)
    assert result.final


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (Model(path="a"), '{"path":"a","sizes":[1]}'),
        (Plain("a", date(2026, 1, 2)), '{"path":"a","since":"2026-01-02"}'),
        ({"a"}, '["a"]'),
        ("\\u0000", '"\\\\u0000"'),
        ((1, True, None), "[1,true,null]"),
    ],
    ids=["None", "model", "dataclass", "set", "an escaped backslash", "tuple"],
)
async def test_a_result_is_what_pydantic_dumps(value: object, text: str) -> None:
    async def handler(params: dict[str, object]) -> object:
        return value

    assert await run_attempt(handler) == Returned(text)


async def test_a_forgotten_await_is_named() -> None:
    async def later() -> int:
        return 3

    def handler(params: dict[str, object]) -> object:
        return later()

    assert "await" in failure(await run_attempt(handler), Kind.RESULT_NOT_STORABLE).message


async def test_a_returned_generator_is_not_run() -> None:
    def forever() -> Iterator[int]:
        while True:
            yield 1

    async def streaming() -> AsyncIterator[int]:
        yield 1

    def handler(params: dict[str, object]) -> object:
        return forever()

    async def async_handler(params: dict[str, object]) -> object:
        return streaming()

    assert "generator" in failure(await run_attempt(handler), Kind.RESULT_NOT_STORABLE).message
    failure(await run_attempt(async_handler), Kind.RESULT_NOT_STORABLE)


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def test_what_a_handler_sets_in_its_context_stays_with_its_attempt() -> None:
    async def handler(params: dict[str, object]) -> str:
        before = WHO.get()
        WHO.set("me")
        await asyncio.sleep(0)
        return before + WHO.get()

    runner = a_runner()
    for _ in range(2):
        assert await run_attempt(handler, runner=runner) == Returned('"nobodyme"')
    assert WHO.get() == "nobody"


async def test_a_thread_sees_the_context_of_its_delivery() -> None:
    def handler(params: dict[str, object]) -> str:
        return WHO.get()

    token = WHO.set("the delivery")
    try:
        assert await run_attempt(handler) == Returned('"the delivery"')
    finally:
        WHO.reset(token)
