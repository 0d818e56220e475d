"""mypy --strict infers what a handler takes and returns, through `@job` and `kick_off`; wrong calls fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]

RIGHT = """
from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel, JsonValue

from daemon import Backoff, Client, JobContext, SyncClient, job


class Thumbnail(BaseModel):
    source: str
    sizes: list[int]


class Made(BaseModel):
    paths: list[str]


@job("thumbnail", retry=Backoff(initial=1), retry_on=OSError, overall_timeout=timedelta(hours=1))
async def thumbnail(params: Thumbnail, ctx: JobContext) -> Made:
    return Made(paths=[params.source])


@job("resized")
async def resized(params: Thumbnail, ctx: JobContext, scale: float) -> int:
    return int(params.sizes[0] * scale)


@job("count", give_up_on=(ValueError, KeyError))
def count(params: dict[str, int]) -> int:
    return len(params)


async def kicks_off(client: Client, photos: Sequence[Thumbnail]) -> None:
    made = await client.kick_off(thumbnail, photos, tags={"a": "b"})
    successes, _ = await made.results()
    reveal_type(successes[0].result)
    counted = await client.kick_off(count, [{"a": 1}])
    async for one in counted.stream_results():
        reveal_type(one.result)
    named = await client.kick_off("thumbnail", [{"source": "a"}])
    reveal_type((await named.results())[0][0].result)
    reveal_type((await (await client.kick_off(resized, photos)).results())[0][0].result)
    other: JsonValue = successes[0].params
    assert other is not None


def kicks_off_without_a_loop(client: SyncClient, photos: Sequence[Thumbnail]) -> None:
    made = client.kick_off(thumbnail, photos)
    reveal_type(made.results()[0][0].result)
    reveal_type(made.wait(timeout=3).completed)
    reveal_type(client.cancel(made.id))


async def calls(ctx: JobContext) -> None:
    reveal_type(await thumbnail(Thumbnail(source="a", sizes=[]), ctx))
    reveal_type(count({}))
"""

SYNC = ["shop.Made | None", "int", "int"]
WRONG = {
    "SyncClient().cancel(3)": "arg-type",
    'await client.kick_off(thumbnail, [{"source": "a"}])': "arg-type",
    "await client.kick_off(thumbnail, Thumbnail(source='a', sizes=[]))": "arg-type",
    'await client.kick_off(count, [{"a": "text"}])': "arg-type",
    "await client.kick_off(count, [{}], tag={})": "call-overload",
    "(await (await client.kick_off(count, [{}])).results())[0][0].result.paths": "union-attr",
    "await client.kick_off(3, [{}])": "call-overload",
    "count('text')": "arg-type",
    "job('x', retry_on=3)(count)": "arg-type",
}


def test_mypy_infers_params_and_results_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    wrong = [f"async def wrong_{n}(client: Client) -> None:\n    {line}\n" for n, line in enumerate(WRONG)]
    source = tmp_path / "shop.py"
    source.write_text(RIGHT + "\n\n" + "\n\n".join(wrong))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(source)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False).stdout
    lines = source.read_text().splitlines()
    found = [(lines[int(line.split(":")[1]) - 1].strip(), line.split(": ", 1)[1]) for line in said.splitlines()]
    types = [text.split('"')[1] for _, text in found if "Revealed type" in text]
    assert types == ["shop.Made | None", "int | None", *types[2:3], "int | None", *SYNC, "shop.Made", "int"], said
    assert "JsonValue" in types[2] or "str" in types[2]
    for line, code in WRONG.items():
        assert any(at == line and f"[{code}]" in text for at, text in found), f"{line}: {said}"
    others = [(at, text) for at, text in found if "error:" in text and at not in WRONG]
    assert others == [], said
