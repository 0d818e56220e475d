"""What a handler takes and returns, read from its annotations, and both as JSON Schema.

Used by the registry for every handler, and by whoever shows them. A type that pydantic can't validate is refused here,
with file and line, before a job needs it.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Never, NoReturn

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from daemon.context import JobContext
from daemon.errors import HandlersInvalid
from daemon.rules.secret_fields import secret_pointers

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_SAYS_NOTHING = (object, BaseModel, NoReturn, Never)


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of a handler. `result` is None where its annotation says nothing about it.

    `resources` are the types of the parameters that a @lifespan provides.
    """

    params: TypeAdapter[object]
    result: TypeAdapter[object] | None
    wants_context: bool
    resources: tuple[object, ...]


def signature_of(function: Callable[..., object], where: str, *, has_result: bool = True) -> Signature:
    """Read the annotations of a function that stands at `where`. Raises HandlersInvalid.

    Without `has_result`, what it returns is not the result of its job.
    """
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    if not names or not all(parameter.kind in _POSITIONAL for parameter in parameters.values()):
        raise HandlersInvalid(f"{where}: a handler takes the params and, if it wants, the context, by position.")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise HandlersInvalid(f"{where}: its annotations can't be read: {error}.") from None
    if names[0] not in hints:
        raise HandlersInvalid(f"{where}: the parameter {names[0]!r} has no annotation (a plain dict is one).")
    wants_context = len(names) > 1 and hints.get(names[1], JobContext) is JobContext
    shared = names[2 if wants_context else 1 :]
    for name in shared:
        if hints.get(name, JobContext) is JobContext:
            raise HandlersInvalid(f"{where}: {name!r} has no type that a @lifespan yields; the context comes second.")
    params = _adapter(hints[names[0]], f"{where}: pydantic can't validate the type of {names[0]!r}")
    result = None
    if has_result and hints.get("return", object) not in _SAYS_NOTHING:
        result = _adapter(hints["return"], f"{where}: pydantic can't dump the type of the result")
        _refuse_secrets(result, where)
    return Signature(params, result, wants_context, tuple(hints[name] for name in shared))


def _adapter(kind: Any, problem: str) -> TypeAdapter[object]:
    try:
        adapter: TypeAdapter[object] = TypeAdapter(kind)
        adapter.rebuild(raise_errors=True)
        return adapter
    except (PydanticSchemaGenerationError, PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise HandlersInvalid(f"{problem}: {str(error).splitlines()[0]}.") from None


def _refuse_secrets(result: TypeAdapter[object], where: str) -> None:
    """A secret is dumped as stars: what a job returned would be gone."""
    pointers = secrets_of(result, "serialization") or ()
    if pointers:
        place = pointers[0] or "its top"
        raise HandlersInvalid(f"{where}: its result holds a secret at {place}, which would be stored as stars.")


def json_schema(adapter: TypeAdapter[object], mode: Literal["validation", "serialization"]) -> dict[str, object] | str:
    """A type as JSON Schema, or why there is none: what pydantic says of the part that can't be described."""
    try:
        return adapter.json_schema(schema_generator=_Schemas, mode=mode)
    except PydanticInvalidForJsonSchema as error:
        return str(error).splitlines()[0]
    except Exception as error:  # the types may bring schemas of their own
        return type(error).__name__


def secrets_of(
    adapter: TypeAdapter[object], mode: Literal["validation", "serialization"] = "validation"
) -> tuple[str, ...] | None:
    """Where the JSON of a type holds secrets, as pointers. None when nobody can tell."""
    schemas = []
    for by_alias in (True, False):  # what is validated by its name is not masked by its alias
        try:
            schemas.append(adapter.json_schema(by_alias=by_alias, schema_generator=_SchemasWithAliases, mode=mode))
        except Exception:
            return None
    return tuple(sorted({pointer for schema in schemas for pointer in secret_pointers(schema)}))


class _Schemas(GenerateJsonSchema):
    """Marks Secret[...] as pydantic itself marks SecretStr: `writeOnly`."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]

    def json_or_python_schema(self, schema: core_schema.JsonOrPythonSchema) -> JsonSchemaValue:
        described = super().json_or_python_schema(schema)
        function = schema.get("serialization", {}).get("function")
        if getattr(function, "__module__", "") == "pydantic.types" and "secret" in getattr(function, "__name__", ""):
            return {**described, "writeOnly": True, "format": "password"}
        return described


class _SchemasWithAliases(_Schemas):
    """Adds every name under which a field may come (AliasChoices), which a JSON Schema has no word for."""

    def model_field_schema(self, schema: core_schema.ModelField) -> JsonSchemaValue:
        return _with_aliases(super().model_field_schema(schema), schema.get("validation_alias"))

    def dataclass_field_schema(self, schema: core_schema.DataclassField) -> JsonSchemaValue:
        return _with_aliases(super().dataclass_field_schema(schema), schema.get("validation_alias"))

    def typed_dict_field_schema(self, schema: core_schema.TypedDictField) -> JsonSchemaValue:
        return _with_aliases(super().typed_dict_field_schema(schema), schema.get("validation_alias"))


def _with_aliases(described: JsonSchemaValue, alias: object) -> JsonSchemaValue:
    if not isinstance(alias, list):
        return described
    paths = alias if alias and isinstance(alias[0], list) else [alias]
    return {**described, "aliases": paths}
