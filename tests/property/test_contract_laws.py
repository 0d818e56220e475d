"""The published contract says what the code does: all that is encoded fits, what does not fit is rejected."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import DecodeError
from daemon.job import JobMessage
from daemon.orchestration import CompletedOrchestration
from daemon.rules import contract, events
from daemon.rules.messages import decode, encode
from tests.property.strategies import completed, messages

REPOSITORY = Path(__file__).parents[2]
FORMATS = {"uuid": contract.UUID_PATTERN, "date-time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
TYPES = {"string": str, "integer": int, "number": (int, float), "object": dict}


def fits(schema: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that the contract uses."""
    if not isinstance(value, TYPES[schema["type"]]):
        return False
    if isinstance(value, dict):
        return _object_fits(schema, value)
    if isinstance(value, str):
        pattern = schema.get("pattern") or FORMATS.get(schema.get("format", ""), "")
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return long_enough and bool(re.search(pattern, value)) and value in schema.get("enum", [value])
    return bool(schema.get("minimum", value) <= value)


def _object_fits(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    if not set(schema.get("required", ())) <= value.keys():
        return False
    for key, one in value.items():
        rules = [rule for pattern, rule in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
        rules += [schema["properties"][key]] if key in schema.get("properties", {}) else []
        other = schema.get("additionalProperties")
        if not all(fits(rule, one) for rule in rules or ([other] if other else [])):
            return False
    return True


@given(messages())
def test_every_message_that_is_encoded_fits_the_schema(message: JobMessage) -> None:
    data, attributes = encode(message)
    assert fits(contract.job_attributes(), attributes)
    assert not data or fits(contract.job_params(), json.loads(data))


@given(st.sampled_from(["job_id", "orchestration_id", "index", "count", "schema_version"]), st.text(max_size=40))
def test_an_attribute_that_breaks_the_schema_is_rejected(name: str, value: str) -> None:
    attributes = {"job_name": "a", name: value}
    if not fits(contract.job_attributes(), attributes):
        with pytest.raises(DecodeError):
            decode(b"{}", attributes, "1")


@given(completed())
def test_every_event_fits_the_schema_whatever_its_tags_are(done: CompletedOrchestration) -> None:
    body = json.loads(events.event_body(done))
    assert fits(contract.event_body(), body)
    assert body.keys() == contract.event_body()["properties"].keys()  # type: ignore[attr-defined]
    assert fits(contract.event_attributes(), events.event_attributes(done, "//headcount/projects/p"))


def test_the_example_of_the_contract_decodes() -> None:
    example: Any = contract.asyncapi("1")["components"]
    example = example["messages"]["job"]["examples"][0]
    message = decode(json.dumps(example["payload"]).encode(), example["headers"], "1")
    assert (message.job_id, message.index, message.count) == (UUID(contract.INSTANCE), 1, 3)
    assert message.tags == {"customer": "c-17"}


def test_the_document_in_the_repository_is_the_one_of_this_release() -> None:
    kept = json.loads((REPOSITORY / "docs" / "asyncapi.json").read_text())
    assert kept == contract.asyncapi(version("headcount")), "headcount asyncapi > docs/asyncapi.json"
