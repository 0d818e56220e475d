"""Columns of a batch as binary arrays: what `unnest` reads, at a third of the cost of the driver's general dumper.

Used by the hot statements (claim, settle); registered on connect by `database`. The driver looks for the type of every
list, and sends small integers as another type than large ones, which makes two prepared statements of one; a column
knows its type. The layout is that of Postgres's array_send: dimensions, whether there are NULLs, the element's type,
the length, the lower bound, and then each item as its length (-1 for NULL) and its bytes.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar
from uuid import UUID

from psycopg import DataError
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

T = TypeVar("T")
_HEAD = struct.Struct("!iiIii")
_EMPTY = struct.Struct("!iiI")
_LENGTH = struct.Struct("!i").pack
_NULL = _LENGTH(-1)
_INT = struct.Struct("!ii").pack
_FLOAT = struct.Struct("!id").pack
_UUID_LENGTH = _LENGTH(16)
_SMALL: dict[int | None, bytes] = {None: _NULL} | {number: _INT(4, number) for number in range(1024)}


class _Column(ABC, Generic[T]):
    """The values of one column, None for NULL. `items` are the values, each with its length before it: encoded once, in
    however many statements they are sent."""

    __slots__ = ("items", "values")
    element: ClassVar[int]

    def __init__(self, values: Sequence[T | None]) -> None:
        self.values = values
        self.items = self._encoded(values)

    @abstractmethod
    def _encoded(self, values: Sequence[T | None]) -> list[bytes]: ...


class Uuids(_Column[UUID]):
    """uuid[]"""

    element = 2950

    def _encoded(self, values: Sequence[UUID | None]) -> list[bytes]:
        return [_NULL if value is None else _UUID_LENGTH + value.int.to_bytes(16, "big") for value in values]


class Tokens(_Column[int]):
    """uuid[] of numbers below 2**128."""

    element = 2950

    def _encoded(self, values: Sequence[int | None]) -> list[bytes]:
        return [_NULL if value is None else _UUID_LENGTH + value.to_bytes(16, "big") for value in values]


class Ints(_Column[int]):
    """int[]: four bytes each, DataError for what does not fit."""

    element = 23

    def _encoded(self, values: Sequence[int | None]) -> list[bytes]:
        try:
            return [_SMALL.get(value) or _INT(4, value) for value in values]
        except struct.error as error:
            raise DataError(f"a number does not fit into int: {error}") from None


class Floats(_Column[float]):
    """float8[]"""

    element = 701

    def _encoded(self, values: Sequence[float | None]) -> list[bytes]:
        return [_NULL if value is None else _FLOAT(8, value) for value in values]


class Texts(_Column[str]):
    """text[]; UnicodeEncodeError for half a surrogate pair."""

    element = 25

    def _encoded(self, values: Sequence[str | None]) -> list[bytes]:
        items, before, item = [], None, _NULL  # names and outcomes are mostly those of the row before
        for value in values:
            if value != before:
                before, encoded = value, b"" if value is None else value.encode()
                item = _NULL if value is None else _LENGTH(len(encoded)) + encoded
            items.append(item)
        return items


_ARRAYS = {Uuids: 2951, Tokens: 2951, Ints: 1007, Floats: 1022, Texts: 1009}


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Column[object]) -> bytes:
        if not obj.values:
            return _EMPTY.pack(0, 0, obj.element)
        return _HEAD.pack(1, None in obj.values, obj.element, len(obj.values), 1) + b"".join(obj.items)


_DUMPERS = {column: type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": oid}) for column, oid in _ARRAYS.items()}


def register(adapters: AdaptersMap) -> None:
    """Let a connection know them."""
    for column, dumper in _DUMPERS.items():
        adapters.register_dumper(column, dumper)
