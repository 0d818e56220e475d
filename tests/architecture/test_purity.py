"""What the floors must not do: decide with a clock, log where only reporting is allowed, read the environment.

Which file may import which is checked by `lint-imports`; these are the rules that imports alone can't tell.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter

import grimp
import pytest

from daemon.settings import OTHER_VARIABLES, PREFIX
from tests.architecture.sources import Source, sources

QUIET = ("daemon/engine", "daemon/rules")
REPORTS = {"structlog", "logging", "prometheus_client", "warnings", "opentelemetry"}
IMPURE = {
    "time.time",
    "time.monotonic",
    "datetime.now",
    "datetime.utcnow",
    "date.today",
    "random.random",
    "uuid4",
    "open",
}


def _imported(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _calls(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.mark.parametrize("source", sources(*QUIET), ids=lambda source: source.name)
def test_rules_and_engine_report_and_never_log_or_count(source: Source) -> None:
    assert not {name.partition(".")[0] for name in _imported(source)} & REPORTS
    assert [place for place, call in _calls(source) if call == "print"] == []


@pytest.mark.parametrize("source", sources(*QUIET), ids=lambda source: source.name)
def test_rules_and_engine_have_no_holes_in_their_types(source: Source) -> None:
    assert "type: ignore" not in source.text
    names = {node.id for node in ast.walk(source.tree) if isinstance(node, ast.Name)}
    assert not names & {"Any", "cast"}


@pytest.mark.parametrize("source", sources("daemon/rules"), ids=lambda source: source.name)
def test_rules_take_time_and_chance_as_arguments(source: Source) -> None:
    impure = [(place, call) for place, call in _calls(source) if call in IMPURE]
    assert impure == []
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(source.tree))


def test_the_settings_file_alone_reads_headcounts_variables() -> None:
    readers = {
        f"{source.name}:{place} {name}"
        for source in sources("daemon")
        if source.name != "daemon/settings.py"
        for place, name in _variables_read(source)
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }
    assert readers == set()


def _variables_read(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environ"):
            key = node.slice if isinstance(node.ctx, ast.Load) else None
        elif isinstance(node, ast.Call) and re.search(r"\b(environ\.get|getenv)$", ast.unparse(node.func)):
            key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield node.lineno, key.value


def test_nothing_reads_the_environment_while_it_is_imported() -> None:
    readers = [
        f"{source.name}:{node.lineno}"
        for source in sources("daemon")
        for statement in source.tree.body
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert readers == []


def test_no_module_imports_another_in_a_circle() -> None:
    graph = grimp.build_graph("daemon", cache_dir=None)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
