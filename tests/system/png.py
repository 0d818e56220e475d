"""Pictures as Chromium takes them: PNG with eight bits a channel, no alpha, not interlaced. Read, and written smaller.

Used by what photographs pages. A screenshot of a page holds few colours: with a palette it is a third as large.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = 3
PALETTE = 256
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """Rows of bytes, three a pixel."""

    width: int
    rows: list[bytearray]

    def colours(self, left: int, top: int, width: int, height: int) -> Counter[Colour]:
        """How often each colour stands in a rectangle."""
        found: Counter[Colour] = Counter()
        for row in self.rows[top : top + height]:
            part = bytes(row[left * CHANNELS : (left + width) * CHANNELS])
            found.update(zip(part[0::3], part[1::3], part[2::3], strict=True))
        return found


def read(path: Path) -> Picture:
    """The picture in a file."""
    data, offset, head, packed = path.read_bytes(), len(SIGNATURE), b"", b""
    assert data.startswith(SIGNATURE)
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        head, packed = (body if kind == b"IHDR" else head), (packed + body if kind == b"IDAT" else packed)
        offset += 12 + length
    width, height, *form = struct.unpack(">IIBBBBB", head)
    assert form == [8, 2, 0, 0, 0], f"not the kind of PNG that is read here: {form}"
    raw, stride = zlib.decompress(packed), width * CHANNELS
    rows = [bytearray(stride)]
    for start in range(0, height * (stride + 1), stride + 1):
        row = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], row, rows[-1])
        rows.append(row)
    return Picture(width, rows[1:])


def write(picture: Picture, path: Path) -> None:
    """Write it with a palette of its 256 most frequent colours; others become the nearest of them."""
    height = len(picture.rows)
    counted = picture.colours(0, 0, picture.width, height)
    palette = [colour for colour, _ in counted.most_common(PALETTE)]
    nearest = {colour: _nearest(colour, palette) for colour in counted}
    packed = zlib.compressobj(9, memLevel=9)
    body = b""
    for row in picture.rows:
        body += packed.compress(
            bytes([0, *(nearest[one] for one in zip(row[0::3], row[1::3], row[2::3], strict=True))])
        )
    body += packed.flush()
    head = struct.pack(">IIBBBBB", picture.width, height, 8, 3, 0, 0, 0)
    colours = bytes(channel for colour in palette for channel in colour)
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", body), (b"IEND", b""))
    path.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _nearest(colour: Colour, palette: list[Colour]) -> int:
    def distance(offset: int) -> int:
        return sum((own - other) ** 2 for own, other in zip(colour, palette[offset], strict=True))

    return min(range(len(palette)), key=distance)


def _unfilter(kind: int, row: bytearray, above: bytearray) -> None:
    """Turn a filtered row into its bytes, in place."""
    for offset in range(len(row) if kind else 0):
        left = row[offset - CHANNELS] if offset >= CHANNELS else 0
        up = above[offset]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            guess = _paeth(left, up, above[offset - CHANNELS] if offset >= CHANNELS else 0)
        row[offset] = (row[offset] + guess) & 255


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))
