"""The dashboard drawn from a real Prometheus that watched real workers: every panel shows something."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.databases import TestDatabases
from tests.harness.needs import needs
from tests.system import png
from tests.system.shop_scene import RATE, drawing, photographed, shop

pytestmark = pytest.mark.long

DAY_SECONDS = 25.0
SCALE = 0.5
EMPTY: dict[str, str] = {}  # title of a panel that has no data here: why
LARGEST = 300_000
PICTURE = Path("docs/dashboard.png")
COLOURFUL = 40  # how far the channels of a line's colour are apart; text, grid and background are grey

draw = drawing()
Answers = dict[int, list[Any]]


@pytest.fixture(scope="module")
async def seen(
    databases: TestDatabases, pubsub_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Answers, Any]]:
    """What every panel's queries gave after a day of the shop, and which time that is."""
    needs("prometheus")
    url = databases.migrated()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub_server)
        async with shop(url, pubsub_server, tmp_path_factory.mktemp("shop")) as (pool, prometheus):
            began = time.time()
            await pool.run(DAY_SECONDS)
            window = draw.Window(began, time.time(), RATE)
            yield draw.answers(prometheus.address, window), window
    databases.drop(url)


@pytest.mark.parametrize("title", [panel["title"] for panel in draw.graphs()])
async def test_a_panel_has_data(title: str, seen: tuple[Answers, Any]) -> None:
    (panel,) = (one for one in draw.graphs() if one["title"] == title)
    points = sum(len(line.finite) for line in seen[0][panel["id"]])
    assert (points == 0) is (title in EMPTY), EMPTY.get(title, f"{title} is empty")


async def test_the_page_needs_nothing_but_itself(seen: tuple[Answers, Any]) -> None:
    page = draw.page(*seen)
    assert "http" not in page
    assert "no data" not in page
    for panel in draw.graphs():
        assert f">{panel['title']}</text>" in page
    pictures = page.split("<svg ")[1:]
    assert len(pictures) == len(draw.graphs())
    for picture in pictures:
        ET.fromstring("<svg " + picture.split("</svg>")[0] + "</svg>")


async def test_chromium_shows_lines_in_every_panel(seen: tuple[Answers, Any], tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(draw.page(*seen))
    photographed(page, picture, *draw.size(), scale=SCALE)
    shown = png.read(picture)
    for panel in draw.graphs():
        box = draw.box_of(panel)
        colours = shown.colours(*(round(side * SCALE) for side in (box.left, box.top, box.width, box.height)))
        lines = sum(count for colour, count in colours.items() if max(colour) - min(colour) > COLOURFUL)
        assert lines > 20, f"{panel['title']} shows {lines} coloured pixels"


def test_the_picture_of_the_documentation_is_small() -> None:
    assert 50_000 < PICTURE.stat().st_size < LARGEST
    assert "dashboard.png" in Path("docs/deploy.md").read_text()
