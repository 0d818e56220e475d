"""`thumbnail` on real pictures: what it makes of good ones, and how it refuses the hostile."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from math import isqrt
from pathlib import Path

import pytest
from PIL import Image

from daemon.testing import HandlerFailed, HandlerStopped, Recording, run_handler
from handlers.thumbnail import LARGEST_FILE, MOST_PIXELS, thumbnail
from tests.harness.checkout import REPOSITORY

ORIENTATION, TURNED = 0x0112, 6
MIB = 1024 * 1024
MEASURED = """
import asyncio, sys
from daemon.testing import HandlerFailed, run_handler
from handlers.thumbnail import thumbnail
try:
    asyncio.run(run_handler(thumbnail, {"source": sys.argv[1], "sizes": [4096]}))
except HandlerFailed as failed:
    print(failed.error.message)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def picture(path: Path, width: int = 300, height: int = 200, mode: str = "RGB", **options: object) -> Path:
    Image.new(mode, (width, height), "red" if mode == "RGB" else 1).save(path, **options)
    return path


def black(path: Path, side: int, rows: int) -> Path:
    """A PNG of side x side transparent pixels, of which `rows` rows are there: they pack a thousand to one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(1), bytes(1 + side * 4)
    packed = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def params(source: Path, *sizes: int) -> dict[str, object]:
    return {"source": str(source), "sizes": list(sizes) or [64]}


async def refusal(source: Path) -> str:
    with pytest.raises(HandlerFailed) as refused:
        await run_handler(thumbnail, params(source))
    return refused.value.error.message


async def test_a_picture_gets_a_copy_of_each_size_in_its_proportions(tmp_path: Path) -> None:
    said = Recording()
    made = await run_handler(thumbnail, params(picture(tmp_path / "cat.jpg"), 30, 150, 150), recording=said)
    assert made == {"files": [str(tmp_path / "cat-150.png"), str(tmp_path / "cat-30.png")]}
    assert Image.open(tmp_path / "cat-150.png").size == (150, 100)
    assert Image.open(tmp_path / "cat-30.png").size == (30, 20)
    assert [(one.current, one.total) for one in said.progress] == [(1, 2), (2, 2)]
    assert sorted(os.listdir(tmp_path)) == ["cat-150.png", "cat-30.png", "cat.jpg"]


async def test_a_small_picture_is_never_made_larger_and_a_turned_one_stands_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[ORIENTATION] = TURNED
    await run_handler(thumbnail, params(picture(tmp_path / "photo.jpg", exif=turned), 4000))
    assert Image.open(tmp_path / "photo-4000.png").size == (200, 300)


async def test_the_same_picture_makes_the_same_files(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.gif", mode="P")
    await run_handler(thumbnail, params(source, 20))
    first = (tmp_path / "a-20.png").read_bytes()
    await run_handler(thumbnail, params(source, 20))
    assert (tmp_path / "a-20.png").read_bytes() == first


async def test_a_thumbnail_stops_before_the_next_size_when_it_is_asked_to(tmp_path: Path) -> None:
    with pytest.raises(HandlerStopped):
        await run_handler(thumbnail, params(picture(tmp_path / "a.png"), *range(1, 21)), stopping=True)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
async def test_a_truncated_picture_is_given_up_and_leaves_no_file(tmp_path: Path, name: str, cut: float) -> None:
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(whole, {"jpg": "JPEG"}.get(name[2:], name[2:].upper()))
    source = tmp_path / name
    source.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * cut)])
    assert "can't be decoded as a picture" in await refusal(source)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("body", [b"", b"\x00" * 1000, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>"])
async def test_what_is_no_picture_is_given_up_whatever_it_is_called(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.png").write_bytes(body)
    assert "can't be decoded as a picture: UnidentifiedImageError" in await refusal(tmp_path / "a.png")


async def test_a_picture_that_is_missing_or_too_large_is_given_up(tmp_path: Path) -> None:
    assert "No such file" in await refusal(tmp_path / "missing.png")
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    assert "larger than 64 MiB" in await refusal(tmp_path / "large.png")


def peak_of(source: Path) -> tuple[int, str]:
    """The most memory that a process of its own takes for a picture, in bytes, and what it printed."""
    command = [sys.executable, "-c", MEASURED, str(source)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    *told, peak = done.stdout.splitlines()
    return int(peak) * 1024, "".join(told)


def test_a_decompression_bomb_is_refused_by_its_header_and_takes_no_memory(tmp_path: Path) -> None:
    side = 12_000  # 576 MB when it is decoded
    source = black(tmp_path / "bomb.png", side, rows=200)
    assert side * side > MOST_PIXELS
    assert source.stat().st_size < MIB
    peak, told = peak_of(source)
    assert f"has {side} x {side} pixels, more than 40,000,000" in told
    assert peak < 200 * MIB


def test_the_largest_picture_that_is_taken_fits_into_the_memory_of_its_process(tmp_path: Path) -> None:
    peak, told = peak_of(black(tmp_path / "large.png", isqrt(MOST_PIXELS), isqrt(MOST_PIXELS)))
    assert (tmp_path / "large-4096.png").exists(), told
    assert peak < 700 * MIB
