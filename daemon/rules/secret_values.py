"""Secrets in values that are about to be stored: pydantic dumps them as stars, and stars must not be stored.

Called by the one encoder of JSON. What a producer kicks off is stored as it is; what a handler returns or saves is
refused.
"""

from __future__ import annotations

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import to_jsonable_python

from daemon.errors import ResultNotStorable

STARS = "*" * 10
_ANYTHING: TypeAdapter[object] = TypeAdapter(object)
_SECRETS = (Secret, SecretBytes, SecretStr)


def revealed(dumped: object, value: object) -> object:
    """A JSON dump with the values of the secrets that it holds. Raises ResultNotStorable where they can't be placed."""
    return dumped if isinstance(value, str | int | float | None) else _revealed(dumped, _as_python(value))


def refuse_secrets(value: object) -> None:
    """Raises ResultNotStorable when the value holds a secret."""
    if _holds_secret(_as_python(value)):
        raise ResultNotStorable("it holds a secret, whose dump is stars: return its get_secret_value() or leave it out")


def _as_python(value: object) -> object:
    """Models and dataclasses as dicts, in which secrets still are what they were."""
    return _ANYTHING.dump_python(value, by_alias=True, warnings=False)


def _revealed(dumped: object, value: object) -> object:
    if isinstance(value, _SECRETS):
        return to_jsonable_python(value.get_secret_value())
    if isinstance(value, dict) and isinstance(dumped, dict) and len(value) == len(dumped):
        return {key: _revealed(dumped[key], part) for key, part in zip(dumped, value.values(), strict=True)}
    if isinstance(value, list | tuple) and isinstance(dumped, list) and len(value) == len(dumped):
        return [_revealed(one, part) for one, part in zip(dumped, value, strict=True)]
    if _holds_secret(value):
        raise ResultNotStorable("it holds a secret in a set or under a serializer, where its value can't be placed")
    return dumped


def _holds_secret(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_secret, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_secret, value))
    return isinstance(value, _SECRETS)
