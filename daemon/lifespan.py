"""Resources that handlers share: the `@lifespan` decorator, and what discovery reads from a function under it.

Used by job authors (through the door) and by the registry. What makes and closes the resources is
`engine/resources.py`.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from daemon.errors import HandlersInvalid

MARK = "__headcount_lifespan__"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lifespan:
    """A function that yields one value; `provides` is its type, `location` file:line."""

    provides: object
    function: Callable[[], AsyncIterator[object]]
    location: str


def lifespan(function: Callable[[], AsyncIterator[T]]) -> Callable[[], AsyncIterator[T]]:
    """What the async generator below yields is given to every handler that has a parameter of that type.

    It is made once per worker, and once per child process for handlers that run there, before the first job; after the
    last one the generator goes on behind its `yield`. The type is that of its annotation: `AsyncIterator[Pool]`.
    """
    setattr(function, MARK, True)
    return function


def lifespan_of(function: Callable[..., object], location: str) -> Lifespan:
    """The lifespan of a decorated function. Raises HandlersInvalid when it can't be used."""
    if not inspect.isasyncgenfunction(function) or inspect.signature(function).parameters:
        raise HandlersInvalid(f"{location}: a @lifespan is an `async def` without parameters that yields once.")
    try:
        annotation = typing.get_type_hints(function).get("return")
    except Exception as error:
        raise HandlersInvalid(f"{location}: its annotations can't be read: {error}.") from None
    if typing.get_origin(annotation) not in (AsyncIterator, AsyncGenerator, collections.abc.AsyncIterable):
        raise HandlersInvalid(f"{location}: a @lifespan is annotated with what it yields: AsyncIterator[Pool].")
    return Lifespan(typing.get_args(annotation)[0], function, location)
