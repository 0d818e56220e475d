"""Rows stay in postgres/: what crosses a floor is a record of the domain floor."""

from __future__ import annotations

import ast

from tests.architecture.sources import sources

ROWS = {"Row", "RowMapping"}


def _names(node: ast.AST | None) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)} if node is not None else set()


def test_no_module_outside_of_postgres_knows_the_rows_of_the_database() -> None:
    found = {
        source.name
        for source in sources("daemon")
        if not source.name.startswith(("daemon/postgres", "daemon/doctor", "daemon/bench", "daemon/local"))
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        if ROWS & {alias.name for alias in node.names}
    }
    assert found == set()


def test_no_public_function_of_postgres_returns_rows() -> None:
    found = {
        f"{source.name}:{function.lineno} {function.name}"
        for source in sources("daemon")
        if source.name.startswith("daemon/postgres")
        for function in source.functions()
        if not function.name.startswith("_") and ROWS & _names(function.returns)
    }
    assert found == set()
