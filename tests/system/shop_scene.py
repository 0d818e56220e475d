"""A pool of two workers on an eventful day, scraped by a Prometheus: what the dashboard is drawn from.

Used by test_dashboard_picture, and by hand to draw the picture of the documentation:
`python -m tests.system.shop_scene docs/dashboard.png 120`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from uuid import uuid4

from daemon import Client
from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from daemon.postgres.migrations import upgrade
from daemon.pubsub.publisher import Publisher
from daemon.settings import load
from tests.harness.needs import needs
from tests.harness.worker import WorkerProcess, free_port, worker_environment
from tests.system import png
from tests.system.commands import typed
from tests.system.prometheus import Prometheus, scraping

SLOTS = 30
TICK = 0.1
RATE = "5s"
CONSUME = "pubsub.subscriptions.consume"
Message = tuple[bytes, dict[str, str]]


class Shop:
    """Two workers and their load. `run` lets so many seconds pass, in which one is replaced and one is killed."""

    def __init__(self, environment: dict[str, str], folder: Path, control: Control) -> None:
        self._folder = folder
        self.ports = [free_port(), free_port()]
        self._environments = [{**environment, "HEADCOUNT_HTTP_PORT": str(port)} for port in self.ports]
        self._workers: list[WorkerProcess] = []
        self._settings = load(environment)
        self._letters = self._settings.subscription(self._settings.dead_letter_subscription)
        self._control = control
        self._chance = random.Random(7)

    async def __aenter__(self) -> Shop:
        self._control.deny(CONSUME, resource=self._letters)  # the loop that consumes dead letters fails
        self._workers = [await self._hired(0), await self._hired(1)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    async def _hired(self, seat: int) -> WorkerProcess:
        worker = WorkerProcess(self._environments[seat], self._folder)
        worker.start()
        await worker.until_ready()
        return worker

    async def run(self, seconds: float) -> None:
        """A day: load all the time, Pub/Sub ends streams, the first worker is replaced, the second one crashes."""
        load_of_the_day = asyncio.create_task(self._load(seconds))
        await asyncio.sleep(seconds * 0.15)
        self._control.drop_streams()
        await asyncio.sleep(seconds * 0.15)
        self._workers[0].terminate()
        await self._workers[0].until_exit()
        self._workers[0] = await self._hired(0)
        self._control.drop_streams()
        self._control.allow(CONSUME, resource=self._letters)
        await asyncio.sleep(seconds * 0.25)
        self._workers[1].kill()
        self._workers[1] = await self._hired(1)
        await load_of_the_day

    async def _load(self, seconds: float) -> None:
        began, topic, publisher = time.monotonic(), self._settings.topic(self._settings.jobs_topic), Publisher()
        tick = 0
        async with Client(self._settings) as client:
            while (passed := time.monotonic() - began) < seconds:
                much = 4 + 3 * math.sin(passed / seconds * 9)
                await publisher.publish(topic, [self._job() for _ in range(round(much))])
                tick += 1
                if tick % 20 == 0:
                    await client.kick_off("export", [{"seconds": self._chance.uniform(2, 6)}] * 6)
                    await publisher.publish(topic, [*([self._job()] * 3), (b"no JSON", {"job_name": "thumbnail"})])
                await asyncio.sleep(TICK)
        await publisher.close()

    def _job(self) -> Message:
        name = self._chance.choices(("thumbnail", "invoice"), (4, 1))[0]
        params = {"seconds": self._chance.lognormvariate(-1.5, 0.7), "failures": self._chance.choice((0, 0, 0, 1, 3))}
        return json.dumps(params).encode(), {"job_name": name, "job_id": str(uuid4())}


@asynccontextmanager
async def shop(database_url: str, pubsub: str, folder: Path) -> AsyncIterator[tuple[Shop, Prometheus]]:
    """The pool at work, and the Prometheus that watches it. PUBSUB_EMULATOR_HOST must name the same `pubsub`."""
    own = {"handlers": "tests.system.shop_jobs", "slots": SLOTS, "worker_ttl_seconds": 3, "revision": "3f9c2ab"}
    environment = worker_environment(database_url, f"shop-{uuid4().hex[:8]}", pubsub, **own)
    typed("provision", environment=environment)
    with Control(pubsub) as control:
        async with Shop(environment, folder, control) as open_shop:
            with scraping(*open_shop.ports, folder=folder, every="1s") as prometheus:
                yield open_shop, prometheus


def drawing() -> ModuleType:
    """deploy/dashboard/draw.py, which is a program and no part of a package."""
    sys.path.insert(0, str(Path("deploy/dashboard").resolve()))
    try:
        import draw
    finally:
        del sys.path[0]
    return draw


def photographed(page: Path, picture: Path, width: int, height: int, scale: float = 1.0) -> None:
    """A picture of a page as Chromium shows it."""
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-lcd-text",
        f"--force-device-scale-factor={scale}",
    )
    words = [needs("chromium"), *options, f"--window-size={width},{height}", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(words, check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)


async def main(folder: Path, picture: Path, seconds: float) -> None:
    """Let a day pass and photograph its dashboard."""
    draw = drawing()
    with PubSubProcess() as pubsub, EmbeddedPostgres(folder / "postgres", tcp_port=0) as server:
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
        upgrade(server.url())
        async with shop(server.url(tcp_port=server.tcp_port), pubsub.address, folder) as (pool, prometheus):
            began = time.time()
            await pool.run(seconds)
            window = draw.Window(began, time.time(), RATE)
            answers = draw.answers(prometheus.address, window)
    page = folder / "page.html"
    page.write_text(draw.page(answers, window))
    photographed(page, picture, *draw.size())
    png.write(png.read(picture), picture)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="headcount-shop-") as name:
        Path(name).chmod(0o711)
        asyncio.run(main(Path(name), Path(sys.argv[1]).resolve(), float(sys.argv[2])))
