"""Where JSON holds secrets, by its schema, and the same JSON without them.

Called by the registry's side for the pointers, and by the read side to mask by them. A pointer is a JSON Pointer (RFC
6901) in which `*` stands for any element or key; the empty one is the whole.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import JsonValue

from daemon.rules.storable import parsed

MASK = "***"


def secret_pointers(schema: Mapping[str, object]) -> frozenset[str]:
    """Pointers to all that a schema marks as `writeOnly`. Of a type that holds itself, the inner one is whole."""
    definitions = schema.get("$defs")
    return frozenset(_found(schema, "", definitions if isinstance(definitions, dict) else {}, ()))


def masked(value: JsonValue, pointers: Collection[str]) -> JsonValue:
    """The value with MASK wherever a pointer leads; pointers that lead nowhere are left alone."""
    if pointers and not isinstance(value, dict | list):  # JSON that is kept as its text, for it nests too deeply
        return MASK
    return _masked(value, [pointer.split("/")[1:] for pointer in pointers])


def masked_text(text: str, pointers: Collection[str]) -> str:
    """The same for JSON as text; text that is no JSON object or array is masked as a whole, if anything is."""
    if not pointers:
        return text
    try:
        value = parsed(text)
    except ValueError:
        value = None
    return json.dumps(masked(value, pointers), ensure_ascii=False) if isinstance(value, dict | list) else MASK


def _masked(value: JsonValue, paths: Sequence[Sequence[str]]) -> JsonValue:
    if not paths:
        return value
    if any(not path for path in paths):
        return None if value is None else MASK
    if isinstance(value, dict):
        return {key: _masked(part, _after(_escaped(key), paths)) for key, part in value.items()}
    if isinstance(value, list):
        return [_masked(part, _after(str(index), paths)) for index, part in enumerate(value)]
    return value


def _after(step: str, paths: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    return [path[1:] for path in paths if path[0] in (step, "*")]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _found(schema: object, at: str, definitions: Mapping[str, object], open_names: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    if schema.get("writeOnly") is True:
        yield at
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        target = definitions.get(name)
        if name not in open_names:
            yield from _found(target, at, definitions, (*open_names, name))
        elif _holds_any(target, definitions, set()):
            yield at
    for part, place in _parts(schema, at):
        yield from _found(part, place, definitions, open_names)


def _parts(schema: Mapping[str, object], at: str) -> Iterator[tuple[object, str]]:
    """Every schema that stands in a schema, and where its values stand."""
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, part in properties.items():
            yield part, f"{at}/{_escaped(name)}"
            for path in part.get("aliases", ()) if isinstance(part, dict) else ():
                yield part, at + "".join(f"/{_escaped(str(step))}" for step in path)
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        yield from ((part, f"{at}/*") for part in patterns.values())
    yield schema.get("additionalProperties"), f"{at}/*"
    yield schema.get("items"), f"{at}/*"
    first = schema.get("prefixItems")
    if isinstance(first, list):
        yield from ((part, f"{at}/{index}") for index, part in enumerate(first))
    for choices in (schema.get(word) for word in ("anyOf", "oneOf", "allOf")):
        if isinstance(choices, list):
            yield from ((part, at) for part in choices)


def _holds_any(schema: object, definitions: Mapping[str, object], seen: set[str]) -> bool:
    """Whether a schema marks anything, at any depth."""
    if isinstance(schema, list):
        return any(_holds_any(part, definitions, seen) for part in schema)
    if not isinstance(schema, dict):
        return False
    reference = schema.get("$ref")
    name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
    if name and name not in seen:
        seen.add(name)
        if _holds_any(definitions.get(name), definitions, seen):
            return True
    return schema.get("writeOnly") is True or any(_holds_any(part, definitions, seen) for part in schema.values())
