"""The project's Python files, parsed once.

Used by the architecture tests. Paths are told relative to the repository, so that a failure can be clicked on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file. `name` is its path from the repository on."""

    name: str
    text: str
    tree: ast.Module

    @property
    def length(self) -> int:
        """Lines."""
        return len(self.text.splitlines())

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every file of some folders, in order."""
    files = sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))
    return tuple(_read(path) for path in files)


@cache
def _read(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(str(path.relative_to(REPOSITORY)), text, ast.parse(text))


def body_length(function: Function) -> int:
    """Lines of a function below its signature and its docstring."""
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        body = body[1:]
    if not body:
        return 0
    assert body[-1].end_lineno is not None
    return body[-1].end_lineno - body[0].lineno + 1
