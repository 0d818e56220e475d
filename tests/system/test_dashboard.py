"""The dashboard: the file is what the generator writes, and every panel asks for what the code exposes."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.harness.needs import needs
from tests.system.promql import complaints

FILE = Path("deploy/dashboard/headcount.json")
GENERATOR = Path("deploy/dashboard/generate.py")
BOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
OF_POOL = '{pool=~"$pool"}'
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard_generator", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_generator_writes(generator: ModuleType) -> None:
    assert FILE.read_text(encoding="utf-8") == generator.written(), f"run: python {GENERATOR}"


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_panel_asks_only_for_what_the_code_exposes(title: str, query: str) -> None:
    assert complaints(query, {}) == []


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_an_age_is_that_at_the_scrape(title: str, query: str) -> None:
    assert not re.search(r"(?<!\w)time\(\)", query)
    for series in re.findall(r"\bheadcount_\w+_timestamp_seconds\b", query):
        assert f"timestamp({series}) - ({series} > 0)" in query.replace(OF_POOL, "")


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_panel_shows_the_chosen_pools_only(title: str, query: str) -> None:
    for series in re.findall(r"\bheadcount_[a-z_]+", query):
        assert re.search(rf'{series}\{{pool=~"\$pool"[,}}]', query)


def test_every_query_is_valid_promql(tmp_path: Path) -> None:
    promtool = needs("promtool")
    rules = [
        {
            "record": f"panel:{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$job_name", ".*").replace("$pool", ".*"),
        }
        for number, (_, query) in enumerate(QUERIES)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        where = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(where["x"], where["x"] + where["w"])
            for y in range(where["y"], where["y"] + where["h"])
        }
        assert where["x"] + where["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_legends_name_only_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in target["legendFormat"].split("{{")[1:]:
                name = label.split("}}")[0]
                kept = name in target["expr"].split("by (", 1)[-1].split(")")[0]
                assert kept or (name == "instance" and "sum" not in target["expr"]), (panel["title"], name)
