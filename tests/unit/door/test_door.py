"""The door: what it exports, how light it is, and that nobody inside goes through it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import daemon

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("grpc", "google", "sqlalchemy", "psycopg", "alembic", "prometheus_client", "typer", "anyio", "uvloop")


def _loaded_after(statements: str) -> set[str]:
    ask = f"{statements}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_door_exports_exactly_what_it_lists() -> None:
    assert list(daemon.__all__) == sorted(daemon.__all__)
    for name in daemon.__all__:
        assert getattr(daemon, name).__name__ == name
    own = {"annotations", "TYPE_CHECKING"}
    modules = {name for name, value in vars(daemon).items() if type(value).__name__ == "module"}
    public = {name for name in vars(daemon) if not name.startswith("_")}
    assert public - own - modules <= set(daemon.__all__)


def test_everything_can_be_imported_by_star() -> None:
    names: dict[str, object] = {}
    exec("from daemon import *", names)
    assert set(daemon.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = daemon.Clinet


def test_importing_the_door_and_every_handler_loads_nothing_heavy() -> None:
    handlers = sorted(path.stem for path in (REPOSITORY / "handlers").glob("*.py") if path.stem != "__init__")
    handlers.remove("import_csv")  # loads the driver that it imports itself
    assert handlers
    imports = "\n".join(f"import handlers.{name}" for name in handlers)
    assert not _loaded_after(f"import daemon\n{imports}").intersection(HEAVY)


def test_the_client_is_loaded_when_it_is_first_asked_for() -> None:
    assert "sqlalchemy" in _loaded_after("from daemon import Client")
    assert "sqlalchemy" not in _loaded_after("import daemon; daemon.job")


def test_a_handler_imports_only_the_door() -> None:
    for path in (REPOSITORY / "handlers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("daemon"):
                assert node.module == "daemon", f"{path.name}:{node.lineno}"
                assert {alias.name for alias in node.names} <= set(daemon.__all__)


def test_nothing_inside_imports_the_door() -> None:
    for path in (REPOSITORY / "daemon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "daemon", f"{path}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert all(alias.name != "daemon" for alias in node.names), f"{path}:{node.lineno}"


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(importlib.import_module("daemon").__file__ or "").parent / "py.typed").exists()
