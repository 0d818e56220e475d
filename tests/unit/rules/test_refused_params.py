"""Params that do not fit are told by field and expected type, in unions and dataclasses too, never by their value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from daemon.rules.refused_params import names_in, why_refused


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int


@dataclass
class Dog:
    kind: Literal["dog"]
    name: Annotated[str, Field(max_length=3)]


@dataclass
class Owner:
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: list[Cat | int]
    by_name: dict[str, Dog]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ('{"pet": {"kind": "HIDDEN"}, "either": [], "by_name": {}}', ["pet: ", "'cat', 'dog'"]),
        ('{"pet": {"kind": "dog", "name": "HIDDEN"}, "either": [], "by_name": {}}', ["pet.*.name: ", "3 characters"]),
        ('{"pet": {"kind": "cat", "lives": 1}, "either": ["HIDDEN"], "by_name": {}}', ["either.0.*: ", "integer"]),
        (
            '{"pet": {"kind": "cat", "lives": 1}, "either": [], "by_name": {"HIDDEN": {"kind": "dog", "name": []}}}',
            ["by_name.*.name: ", "valid string"],
        ),
    ],
)
def test_a_nested_field_is_named_with_what_is_expected_there(params: str, words: list[str]) -> None:
    owner = TypeAdapter(Owner)
    with pytest.raises(ValidationError) as refusal:
        owner.validate_json(params)
    said = why_refused(refusal.value, names_in(owner.json_schema()))
    assert all(word in said for word in words), said
    assert "HIDDEN" not in said
