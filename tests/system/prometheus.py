"""A real Prometheus that scrapes one port and evaluates the project's rules, asked over its HTTP API.

Used by the tests of metrics and alerts.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.needs import needs
from tests.harness.waiting import eventually

RULES = Path("deploy/alerts/headcount.rules.yml")


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    port: int

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """What the API answers under `data`."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def rows(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series that a query gives now, or gave at that time."""
        moment = {} if at is None else {"time": str(at)}
        return list(self.ask("query", query=query, **moment)["result"])

    def number(self, query: str, at: float | None = None) -> float | None:
        """The value of its first series; None without one."""
        rows = self.rows(query, at)
        return float(rows[0]["value"][1]) if rows else None

    def numbers(self, query: str, label: str) -> dict[str, float]:
        """The values of its series, by one of their labels."""
        return {row["metric"][label]: float(row["value"][1]) for row in self.rows(query)}

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {row["metric"]["alertname"] for row in self.rows('ALERTS{alertstate="firing"}')}

    def rules(self) -> list[dict[str, Any]]:
        """The rules, as loaded."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def is_up(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"{self.address}/-/ready", timeout=1).close()
            return True
        return False


@contextlib.contextmanager
def scraping(*ports: int, folder: Path, rules: Path = RULES, every: str = "500ms") -> Iterator[Prometheus]:
    """A Prometheus that scrapes these ports of 127.0.0.1 twice a second, or as often as `every` says."""
    program = needs("prometheus")
    if rules.parent != folder:
        shutil.copy(rules, folder)
    target = {"job_name": "jobs-worker", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
    settings = {
        "global": {"scrape_interval": every, "evaluation_interval": "500ms"},
        "rule_files": [rules.name],
        "scrape_configs": [target],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = Prometheus(free.getsockname()[1])
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{server.port}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    ]
    process = subprocess.Popen([program, *options], cwd=folder)
    try:
        eventually(server.is_up, within=20)
        yield server
    finally:
        process.terminate()
        process.wait(20)
