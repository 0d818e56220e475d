"""Params that do not fit: the failure names the field and what was expected, and never what the producer sent."""

from __future__ import annotations

import enum
import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from daemon.job import Kind
from tests.fakes.delivery import a_claim
from tests.unit.engine.attempts import a_runner, failure, run_attempt

SECRET = "4111-1111-1111-1111"


def _refuses(value: str) -> str:
    raise PydanticCustomError("card", "the card {value} is stolen", {"value": value})


class Colour(enum.Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 0
    real: float = 0
    flag: bool = False
    when: datetime | None = None
    id: UUID | None = None
    colour: Colour = Colour.RED
    word: Literal["a", "b"] = "a"
    short: Annotated[str, Field(max_length=3)] = ""
    digits: Annotated[str, Field(pattern=r"^\d+$")] = "1"
    listed: list[int] = []
    table: dict[str, int] = {}
    keys: dict[UUID, int] = {}
    either: int | list[int] = 0
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    checked: str = ""
    custom: Annotated[str, AfterValidator(_refuses)] = ""
    inner: Cat | None = None

    @field_validator("checked")
    @classmethod
    def _no(cls, value: str) -> str:
        if value == "boom":
            raise KeyError(SECRET)
        raise ValueError(f"{value} is not a card")


WRONG: list[tuple[str, Any, str]] = [
    *((name, SECRET, name) for name in ("number", "real", "flag", "when", "id", "colour", "word", "short", "digits")),
    *((name, SECRET, name) for name in ("listed", "table", "keys", "either", "pet", "checked", "custom", "inner")),
    ("listed", [1, SECRET], "listed.1"),
    ("table", {SECRET: SECRET}, "table.*"),
    ("keys", {SECRET: 1}, "keys.*"),
    ("pet", {"kind": SECRET}, "pet"),
    ("id", "f4111-1111-1111-1111", "id"),
    (SECRET, 1, "*"),
    ("mistyped", SECRET, "mistyped"),
]


@pytest.mark.parametrize(("name", "value", "field"), WRONG, ids=lambda value: str(value)[:20])
async def test_a_failure_names_the_field_and_never_the_value(name: str, value: Any, field: str) -> None:
    async def handler(params: Everything) -> None:
        raise AssertionError("it must not run")

    message = failure(
        await run_attempt(handler, claim=a_claim(params=json.dumps({name: value}))), Kind.INVALID_PARAMS
    ).message
    assert "1111" not in message
    assert message.startswith(f"{field}"), message


async def test_the_expected_type_is_told() -> None:
    async def handler(params: Everything) -> None:
        raise AssertionError("it must not run")

    claim = a_claim(params=json.dumps({"number": SECRET, "word": SECRET, "inner": {}}))
    message = failure(await run_attempt(handler, claim=claim), Kind.INVALID_PARAMS).message
    assert "number: Input should be a valid integer, unable to parse string as an integer [int_parsing]" in message
    assert "word: Input should be 'a' or 'b' [literal_error]" in message
    assert "inner.kind: Field required [missing]" in message


async def test_an_exception_of_a_validator_is_named_without_its_words() -> None:
    async def handler(params: Everything) -> None:
        raise AssertionError("it must not run")

    result = await run_attempt(handler, claim=a_claim(params='{"checked": "boom"}'))
    assert failure(result, Kind.INVALID_PARAMS).message == "validating the params raised KeyError"


async def test_values_are_told_when_they_are_asked_for() -> None:
    async def handler(params: Everything) -> None:
        raise AssertionError("it must not run")

    claim = a_claim(params=json.dumps({"number": SECRET, "checked": SECRET}))
    runner = a_runner(show_values=True)
    message = failure(await run_attempt(handler, claim=claim, runner=runner), Kind.INVALID_PARAMS).message
    assert f"input_value='{SECRET}'" in message
    assert f"{SECRET} is not a card" in message
