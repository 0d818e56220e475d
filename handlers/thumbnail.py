"""`thumbnail`: smaller copies of one picture, in several sizes.

One instance per picture, in a process of its own: decoding is CPU work, and the input may be hostile. Safe to repeat:
the same picture makes the same files, and each appears whole or not at all. Needs `pip install 'headcount[images]'`,
which is looked for by the job and not by the worker: an installation without pictures needs no Pillow.
"""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from daemon import GiveUp, JobContext, job

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # Pillow knows 40 more, most of them written for trusted files
LARGEST_FILE = 64 * 1024 * 1024
MOST_PIXELS = 40_000_000  # a decoded picture takes 4 bytes of memory for each, however small its file is


class Thumbnail(BaseModel):
    """Which picture, as the worker sees it, and how large its copies may be."""

    source: Path = Field(description="the picture: JPEG, PNG, WebP or GIF")
    target: Path | None = Field(None, description="the folder of the copies; by default that of the picture")
    sizes: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=1, max_length=20, description="in pixels")


@job(
    "thumbnail",
    executor="process",
    max_attempts=3,
    give_up_on=(FileNotFoundError, PermissionError, ImportError),
    timeout=timedelta(minutes=2),
    memory_mib=768,
)
def thumbnail(params: Thumbnail, ctx: JobContext) -> dict[str, list[str]]:
    """Decode once, then fit a copy into a square of each size; none is larger than the picture itself."""
    sizes = sorted(set(params.sizes), reverse=True)
    picture, folder, made = _decoded(params.source, sizes[0]), params.target or params.source.parent, list[str]()
    for number, size in enumerate(sizes, 1):
        ctx.stop_point()
        picture.thumbnail((size, size))  # each from the one before, which is larger
        target = folder / f"{params.source.stem}-{size}.png"
        partial = target.with_name(f".{target.name}.{ctx.job_id}")  # the same in every attempt: no litter after a kill
        picture.save(partial, "PNG")
        os.replace(partial, target)
        made.append(str(target))
        ctx.progress(number, len(sizes), f"{params.source.name}: {number} of {len(sizes)} sizes")
    return {"files": made}


def _decoded(source: Path, size: int) -> Image:
    from PIL import Image, ImageOps  # pip install 'headcount[images]'

    with source.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise GiveUp(f"{source} is larger than {LARGEST_FILE >> 20} MiB")
    try:  # the bytes are in memory: whatever goes wrong here would go wrong again
        picture = Image.open(io.BytesIO(data), formats=FORMATS)  # reads no more than the header
        if picture.width * picture.height > MOST_PIXELS:
            raise GiveUp(f"{source} has {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}")
        smaller = picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGBA")
        smaller.thumbnail((size, size))  # decodes; a JPEG at a half, a quarter or an eighth if that will do
        return ImageOps.exif_transpose(smaller)
    except (GiveUp, MemoryError):
        raise
    except Exception as error:
        raise GiveUp(f"{source} can't be decoded as a picture: {type(error).__name__}") from error
