"""SQL stands in daemon/postgres/statements and nowhere else; the statements themselves are never put together.

Free of this are `doctor` and `bench`, which look at the server and not at jobs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
STATEMENTS = DAEMON / "postgres" / "statements"
SQL = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|DELETE FROM|UPDATE \w+ SET|pg_advisory_lock)\b", re.DOTALL)

# No statement of the store: the lock around a migration, which runs before there is a schema, and what the embedded
# server of `demo` and the tests does to itself.
EXCUSED = {"postgres/migrations.py", "local/postgres/server.py"}


def _files() -> list[Path]:
    free = (STATEMENTS, DAEMON / "bench", DAEMON / "doctor")
    return [file for file in sorted(DAEMON.rglob("*.py")) if not any(file.is_relative_to(one) for one in free)]


def _strings(tree: ast.AST) -> Iterator[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def _offences(file: Path) -> list[str]:
    tree = ast.parse(file.read_text())
    found = [f"SQL in a string: {text[:60]!r}" for text in _strings(tree) if SQL.search(text)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            found += ["imports text of SQLAlchemy" for alias in node.names if alias.name == "text"]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "exec_driver_sql":
                found.append("calls exec_driver_sql")
            if node.func.attr == "execute" and node.args and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
                found.append("executes a literal")
    return found


@pytest.mark.parametrize("file", _files(), ids=lambda file: str(file.relative_to(DAEMON)))
def test_a_file_outside_the_statements_holds_no_sql(file: Path) -> None:
    offences = _offences(file)
    if str(file.relative_to(DAEMON)) in EXCUSED:
        return
    assert offences == []


def test_every_excuse_is_still_needed() -> None:
    assert all(_offences(DAEMON / file) for file in EXCUSED)


@pytest.mark.parametrize("file", sorted(STATEMENTS.glob("*.py")), ids=lambda file: file.name)
def test_a_statement_is_a_literal_that_is_never_put_together(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        assert not isinstance(node, (ast.JoinedStr, ast.BinOp, ast.FunctionDef)), f"line {node.lineno}"
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id == "text"
            assert isinstance(node.args[0], ast.Constant)


def test_rows_stay_in_postgres_and_records_leave_it() -> None:
    """Above that folder nobody depends on the columns of a statement; the doctor looks at the server itself."""
    free = (DAEMON / "postgres", DAEMON / "bench", DAEMON / "doctor")
    row_types = re.compile(r"\b(RowMapping|sqlalchemy import .*\bRow\b)|\.mappings\(\)")
    named = [
        str(file.relative_to(DAEMON))
        for file in sorted(DAEMON.rglob("*.py"))
        if not any(file.is_relative_to(folder) for folder in free) and row_types.search(file.read_text())
    ]
    assert named == []


def test_no_public_function_of_postgres_answers_with_a_row() -> None:
    named = [
        f"{file.name}:{node.lineno} {node.name}"
        for file in sorted((DAEMON / "postgres").glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
        if node.returns is not None and re.search(r"\bRow(Mapping)?\b", ast.unparse(node.returns))
    ]
    assert named == []
