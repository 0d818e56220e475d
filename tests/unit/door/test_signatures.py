"""What a handler takes and returns, read from its annotations: types, JSON Schema, and where secrets are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, NamedTuple, NoReturn

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, Secret, SecretBytes, SecretStr, TypeAdapter
from typing_extensions import TypedDict

from daemon.errors import HandlersInvalid
from daemon.rules.secret_fields import masked
from daemon.signature import Signature, json_schema, secrets_of, signature_of


class Login(BaseModel):
    user: str
    password: SecretStr
    key: SecretBytes = SecretBytes(b"")
    born: Secret[date] | None = None


class SecretNumber(Secret[int]):
    pass


class Typed(TypedDict):
    pin: SecretNumber
    at: str


class Tree(BaseModel):
    token: SecretStr
    children: list[Tree] = []


class Plain(BaseModel):
    children: list[Plain] = []


@dataclass
class Everything:
    login: Login
    by_name: dict[str, SecretStr]
    mixed: list[Login | int]
    pair: tuple[int, SecretStr]
    typed: Typed
    either: Annotated[SecretStr, Field(validation_alias=AliasChoices("pw", "pass/word", AliasPath("more", 0)))]
    renamed: Annotated[SecretStr, Field(alias="other")]


class Pair(NamedTuple):
    a: int
    b: SecretStr


def reading(kind: object, result: object = None, **terms: bool) -> Signature:
    """The signature of a handler with these annotations."""

    def handler(params: object) -> object: ...

    handler.__annotations__ |= {"params": kind, "return": result}
    return signature_of(handler, "here.py:1", **terms)


@pytest.mark.parametrize(
    ("kind", "pointers"),
    [
        (dict[str, Any], ()),
        (Plain, ()),
        (SecretStr, ("",)),
        (Login, ("/born", "/key", "/password")),
        (Tree, ("/children/*", "/token")),
        (Pair, ("/1",)),
        (
            Everything,
            (
                *("/by_name/*", "/either", "/login/born", "/login/key", "/login/password", "/mixed/*/born"),
                *("/mixed/*/key", "/mixed/*/password", "/more/0", "/other", "/pair/1", "/pass~1word", "/pw"),
                *("/renamed", "/typed/pin"),
            ),
        ),
    ],
)
def test_secret_fields_are_found_by_their_type_wherever_they_stand(kind: Any, pointers: tuple[str, ...]) -> None:
    assert secrets_of(TypeAdapter(kind)) == pointers


def test_of_a_type_without_json_schema_nobody_can_tell_where_secrets_are() -> None:
    assert secrets_of(TypeAdapter(Callable[[], int])) is None


def test_what_the_pointers_name_is_masked_and_nothing_else() -> None:
    params = {"login": {"user": "u", "password": "p", "born": None}, "mixed": [3, {"user": "u", "password": "p"}]}
    params |= {"by_name": {"a": "p", "b/c": "p"}, "pair": [1, "p"], "pass/word": "p", "pw": {"odd": ["p"]}, "x": "x"}
    assert masked(params, secrets_of(TypeAdapter(Everything)) or ()) == {  # type: ignore[arg-type]
        "login": {"user": "u", "password": "***", "born": None},
        "mixed": [3, {"user": "u", "password": "***"}],
        "by_name": {"a": "***", "b/c": "***"},
        "pair": [1, "***"],
        "pass/word": "***",
        "pw": "***",
        "x": "x",
    }
    assert masked(["p"], [""]) == "***"


@pytest.mark.parametrize("kind", [object, NoReturn, BaseModel])
def test_an_annotation_that_says_nothing_describes_no_result(kind: object) -> None:
    assert reading(dict, kind).result is None


def test_a_function_that_returns_no_result_has_none_described() -> None:
    assert reading(dict, int, has_result=False).result is None


def test_params_and_result_are_described_by_json_schema() -> None:
    signature = reading(Login, dict[str, date])
    assert signature.result is not None
    schema = json_schema(signature.result, "serialization")
    assert schema == {"type": "object", "additionalProperties": {"type": "string", "format": "date"}}
    params = json_schema(signature.params, "validation")
    assert isinstance(params, dict)
    assert params["properties"]["born"]["anyOf"][0]["writeOnly"] is True  # type: ignore[index]


def test_a_type_without_json_schema_says_which_part_has_none() -> None:
    assert "CallableSchema" in str(json_schema(reading(Callable[[], int]).params, "validation"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Login, "holds a secret at /born"), (list[SecretStr], "at /\\*"), (complex | type(iter([])), "can't dump")],
)
def test_a_result_that_could_not_be_stored_as_it_is_is_refused_with_file_and_line(kind: Any, words: str) -> None:
    with pytest.raises(HandlersInvalid, match=f"here.py:1: .*{words}"):
        reading(dict, kind)
