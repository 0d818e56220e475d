"""`headcount handlers`: what a worker would find, and the JSON Schema of what each handler takes and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.unit.door.packages import IMPORTS, a_package

SOURCE = """
from collections.abc import Callable
from pydantic import BaseModel, SecretStr

class Page(BaseModel):
    url: str
    token: SecretStr

@job("fetch")
def fetch(params: Page) -> list[int]: ...

@job("odd")
def odd(params: Callable[[], int]): ...
"""


def handlers(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command says about the handlers above."""
    own = {"HEADCOUNT_HANDLERS": a_package(folder, web=IMPORTS + SOURCE), "HEADCOUNT_HANDLERS_PATH": str(folder)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADCOUNT")} | own
    command = [sys.executable, "-m", "daemon", "handlers", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_schema_of_a_handler_tells_its_params_and_its_result(tmp_path: Path) -> None:
    said = json.loads(handlers(tmp_path, "--schema", "fetch").stdout)
    assert said["name"] == "fetch"
    assert said["params"]["required"] == ["url", "token"]
    assert said["params"]["properties"]["token"]["writeOnly"] is True
    assert said["result"] == {"type": "array", "items": {"type": "integer"}}


def test_a_handler_without_a_schema_or_without_a_name_is_an_error_that_says_so(tmp_path: Path) -> None:
    odd, unknown = handlers(tmp_path, "--schema", "odd"), handlers(tmp_path, "--schema", "nothing")
    assert "CallableSchema" in odd.stderr
    assert "fetch, odd" in unknown.stderr
    assert 0 not in (odd.returncode, unknown.returncode)


def test_the_list_shows_a_handler_without_a_schema_beside_the_others(tmp_path: Path) -> None:
    listed = json.loads(handlers(tmp_path, "--json").stdout)
    assert [(one["name"], one["params"] is None, one["result"] is None) for one in listed] == [
        ("fetch", False, False),
        ("odd", True, True),
    ]
    assert "(not describable)" in handlers(tmp_path).stdout
