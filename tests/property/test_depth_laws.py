"""How deep JSON nests is counted without parsing it, and everything downstream takes what the limit allows."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from daemon.rules.storable import MAX_DEPTH, depth, is_too_deep, parsed

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab[]{}"\\\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a[]{}"\\'), inner, max_size=4),
    max_leaves=30,
)


def counted(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(counted, value.values()), default=0)
    return 1 + max(map(counted, value), default=0) if isinstance(value, list) else 0


@given(value=values, indent=st.sampled_from([None, 1]))
def test_the_depth_is_that_of_the_parsed_value(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert depth(text.encode()) == counted(value)
    assert parsed(text) == value


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_the_limit_is_what_everything_downstream_can_handle(opening: str, closing: str) -> None:
    text = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
    assert not is_too_deep(text.encode())
    assert is_too_deep((opening + text + closing).encode())
    value = TypeAdapter(JsonValue).validate_json(text)
    assert value == json.loads(text) == orjson.loads(text) == parsed(text)
    assert json.loads(json.dumps(value)) == json.loads(orjson.dumps(value)) == value
    TypeAdapter(JsonValue).dump_json(value)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 1_000, 1_023, 100_000])
def test_json_that_is_too_deep_to_be_parsed_is_given_as_its_text(levels: int) -> None:
    text = "[" * levels + "]" * levels
    assert parsed(text) == text


def test_a_large_flat_value_costs_little_and_brackets_in_strings_are_no_levels() -> None:
    assert depth(json.dumps({"a": "[" * 1_000_000, "b": [{}] * 100_000}).encode()) == 3
