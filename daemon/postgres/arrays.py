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
_BOOLS = {True: b"\x00\x00\x00\x01\x01", False: b"\x00\x00\x00\x01\x00"}


class _Column(ABC, Generic[T]):
    """The values of one column, None for NULL."""

    __slots__ = ("values",)
    element: ClassVar[int]
    array: ClassVar[int]

    def __init__(self, values: Sequence[T | None]) -> None:
        self.values = values

    @abstractmethod
    def items(self) -> list[bytes]:
        """Each value with its length before it."""


class Uuids(_Column[UUID]):
    """uuid[]"""

    element, array = 2950, 2951

    def items(self) -> list[bytes]:
        return [_NULL if one is None else _UUID_LENGTH + one.bytes for one in self.values]


class Ints(_Column[int]):
    """int[]: four bytes each, DataError for what does not fit."""

    element, array = 23, 1007

    def items(self) -> list[bytes]:
        try:
            return [_NULL if one is None else _INT(4, one) for one in self.values]
        except struct.error as error:
            raise DataError(f"a number does not fit into int: {error}") from None


class Floats(_Column[float]):
    """float8[]"""

    element, array = 701, 1022

    def items(self) -> list[bytes]:
        return [_NULL if one is None else _FLOAT(8, one) for one in self.values]


class Bools(_Column[bool]):
    """bool[]"""

    element, array = 16, 1000

    def items(self) -> list[bytes]:
        return [_NULL if one is None else _BOOLS[one] for one in self.values]


class Texts(_Column[str]):
    """text[]; UnicodeEncodeError for half a surrogate pair."""

    element, array = 25, 1009

    def items(self) -> list[bytes]:
        found = []
        for one in self.values:
            if one is None:
                found.append(_NULL)
            else:
                encoded = one.encode()
                found.append(_LENGTH(len(encoded)) + encoded)
        return found


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
        return _HEAD.pack(1, _NULL in items, obj.element, len(items), 1) + b"".join(items)


_DUMPERS = {
    column: type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": column.array})
    for column in (Uuids, Ints, Floats, Bools, Texts)
}
