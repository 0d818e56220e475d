"""Results are dumped by the annotation of their handler, and no secret is stored as stars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, PlainSerializer, Secret, SecretBytes, SecretStr

from daemon.context import JobContext
from daemon.errors import ResultNotStorable
from daemon.job import Failed, Kind, Returned
from daemon.rules.storable import encode_json
from tests.unit.engine.attempts import failure, run_attempt

Cents = Annotated[int, PlainSerializer(lambda value: f"{value / 100:.2f}")]


class Shape(BaseModel):
    a: int = 1


class Circle(Shape):
    b: int = 2


class Login(BaseModel):
    password: SecretStr
    key: SecretBytes = SecretBytes(b"k")
    limit: Secret[int] = Secret(3)


@dataclass
class Account:
    logins: list[Login]
    at: datetime


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACCOUNT = Account([Login(password=SecretStr("p"))], NOON)


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Cents, 150, '"1.50"'),
        (dict[str, Cents], {"a": 150}, '{"a":"1.50"}'),
        (Shape, Circle(), '{"a":1}'),
        (BaseModel, Circle(), '{"a":1,"b":2}'),
        (object, NOON, '"2026-01-01T12:00:00Z"'),
        (datetime, NOON, '"2026-01-01T12:00:00Z"'),
        (int, "not an int", '"not an int"'),
        (None, None, "null"),
    ],
)
async def test_a_result_is_dumped_as_its_annotation_says(kind: Any, value: object, stored: str) -> None:
    async def handler(params: dict[str, object]) -> object:
        return value

    handler.__annotations__["return"] = kind
    assert await run_attempt(handler) == Returned(stored)


@pytest.mark.parametrize("value", [SecretStr("p"), {"a": [Login(password=SecretStr("p"))]}, ACCOUNT, {SecretStr("p")}])
async def test_a_secret_in_a_result_fails_the_attempt_and_is_not_stored_as_stars(value: object) -> None:
    def handler(params: dict[str, object]) -> object:
        return value

    result = await run_attempt(handler)
    assert "get_secret_value" in failure(result, Kind.RESULT_NOT_STORABLE).message
    assert isinstance(result, Failed)


async def test_a_secret_in_a_checkpoint_is_refused() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        await ctx.save({"token": SecretStr("p")})

    assert "secret" in failure(await run_attempt(handler), Kind.RAISED).message


def test_stars_that_are_no_secret_are_stored() -> None:
    assert encode_json({"a": "*" * 12}, 100) == '{"a":"************"}'


def test_params_are_stored_with_the_values_of_their_secrets() -> None:
    login = '{"password":"p","key":"k","limit":3}'
    assert encode_json(Login(password=SecretStr("p")), 100, reveals=True) == login
    assert encode_json(ACCOUNT, 200, reveals=True) == f'{{"logins":[{login}],"at":"2026-01-01T12:00:00Z"}}'
    assert encode_json({"a": {1: SecretStr("p")}}, 100, reveals=True) == '{"a":{"1":"p"}}'
    assert encode_json({"plain": [1.5, None, "x"]}, 100, reveals=True) == '{"plain":[1.5,null,"x"]}'


def test_a_secret_whose_value_cannot_be_placed_is_refused() -> None:
    with pytest.raises(ResultNotStorable, match="in a set"):
        encode_json({"a": {SecretStr("p")}}, 100, reveals=True)
