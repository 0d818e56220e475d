"""Nobody reaches into the private parts of objects that another file, or another project, has made."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import Source, sources

# Documented, in spite of their names: of modules, of named tuples and of SQLAlchemy's rows.
PUBLISHED = {"_exit", "_getframe", "_current_frames", "_replace", "_make", "_mapping"}
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def _is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__")


def _own(tree: ast.Module) -> set[str]:
    """What the classes of a file call their own: methods, fields, and attributes that they assign."""
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            own.add(node.attr)
    return own


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _foreign(tree: ast.Module) -> Iterator[tuple[int, str]]:
    own = _own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_self(node.value):
            if node.attr not in own | PUBLISHED:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and _is_private(name.value) and name.value not in own:
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("source", sources("daemon", "handlers"), ids=lambda source: source.name)
def test_no_file_uses_private_attributes_of_foreign_objects(source: Source) -> None:
    assert list(_foreign(source.tree)) == []


@pytest.mark.parametrize(
    "text",
    [
        "future._manager",
        "getattr(future, '_StreamingPullFuture__manager', None)",
        "setattr(manager, '_on_hold_bytes', 0)",
        "response._pb.received_messages",
        "self.client._channel",
    ],
)
def test_reaching_into_a_foreign_object_is_noticed(text: str) -> None:
    assert len(list(_foreign(ast.parse(text)))) == 1
