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
_BOOLS = {True: b"\x00\x00\x00\x01\x01", False: b"\x00\x00\x00\x01\x00"}


class _Column(ABC, Generic[T]):
    """The values of one column, None for NULL. They are encoded once, in however many statements they are sent."""

    __slots__ = ("_items", "values")
    element: ClassVar[int]
    array: ClassVar[int]

    def __init__(self, values: Sequence[T | None]) -> None:
        self.values = values
        self._items: list[bytes] | None = None

    def items(self) -> list[bytes]:
        """Each value with its length before it."""
        if self._items is None:
            self._items = self.encoded()
        return self._items

    @abstractmethod
    def encoded(self) -> list[bytes]:
        """The same, anew."""


class Uuids(_Column[UUID]):
    """uuid[]"""

    element, array = 2950, 2951

    def encoded(self) -> list[bytes]:
        return [_NULL if one is None else _UUID_LENGTH + one.int.to_bytes(16, "big") for one in self.values]


class Ints(_Column[int]):
    """int[]: four bytes each, DataError for what does not fit."""

    element, array = 23, 1007

    def encoded(self) -> list[bytes]:
        try:
            return [_SMALL.get(one) or _INT(4, one) for one in self.values]
        except struct.error as error:
            raise DataError(f"a number does not fit into int: {error}") from None


class Floats(_Column[float]):
    """float8[]"""

    element, array = 701, 1022

    def encoded(self) -> list[bytes]:
        return [_NULL if one is None else _FLOAT(8, one) for one in self.values]


class Bools(_Column[bool]):
    """bool[]"""

    element, array = 16, 1000

    def encoded(self) -> list[bytes]:
        return [_NULL if one is None else _BOOLS[one] for one in self.values]


class Texts(_Column[str]):
    """text[]; UnicodeEncodeError for half a surrogate pair."""

    element, array = 25, 1009

    def encoded(self) -> list[bytes]:
        found, before, item = [], None, _NULL  # names and outcomes are mostly those of the row before
        for one in self.values:
            if one != before:
                before = one
                item = _NULL if one is None else _text(one.encode())
            found.append(item)
        return found


def _text(encoded: bytes) -> bytes:
    return _LENGTH(len(encoded)) + encoded


def register(adapters: AdaptersMap) -> None:
    """Let a connection know them."""
    for column in (Uuids, Ints, Floats, Bools, Texts):
        adapters.register_dumper(column, _DUMPERS[column])


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Column[object]) -> bytes:
        items = obj.items()
        if not items:
            return _EMPTY.pack(0, 0, obj.element)
        return _HEAD.pack(1, None in obj.values, obj.element, len(items), 1) + b"".join(items)


_DUMPERS = {
    column: type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": column.array})
    for column in (Uuids, Ints, Floats, Bools, Texts)
}
