"""Files and functions stay small enough to be read at once, and every file says what it is."""

from __future__ import annotations

import ast
from statistics import median

from tests.architecture.sources import Function, body_length, sources

LONGEST_FILE = 300
LONGEST_FUNCTION = 40


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    assert {one.name: one.length for one in sources("daemon", "handlers", "tests") if one.length > LONGEST_FILE} == {}


def test_most_files_of_the_package_are_much_shorter() -> None:
    assert median(one.length for one in sources("daemon")) <= 160


def test_no_function_is_longer_than_forty_lines() -> None:
    long = {
        f"{one.name}:{function.lineno} {function.name}": body_length(function)
        for one in sources("daemon", "handlers")
        for function in one.functions()
        if body_length(function) > LONGEST_FUNCTION
    }
    assert long == {}


def test_most_functions_of_the_package_are_much_shorter() -> None:
    assert median(body_length(function) for one in sources("daemon") for function in one.functions()) <= 8


def test_every_module_says_in_some_lines_what_it_is() -> None:
    mute = [one.name for one in sources("daemon") if len((ast.get_docstring(one.tree) or "").splitlines()) < 2]
    assert mute == []


def _is_protocol(holder: ast.AST) -> bool:
    return isinstance(holder, ast.ClassDef) and any(
        isinstance(b, ast.Name) and b.id == "Protocol" for b in holder.bases
    )


def test_the_public_floors_say_what_everything_is_and_the_engine_what_its_classes_are() -> None:
    """A Protocol says it once for all of its members, a function once for all of its overloads."""
    mute = [
        f"{one.name}:{node.lineno} {node.name}"
        for one in sources("daemon")
        if one.name.startswith(("daemon/rules", "daemon/engine")) or one.name.count("/") == 1
        for holder in ast.walk(one.tree)
        if isinstance(holder, ast.Module | ast.ClassDef) and not getattr(holder, "name", "").startswith("_")
        if not _is_protocol(holder)
        for node in holder.body
        if isinstance(node, ast.ClassDef) or (isinstance(node, Function) and not one.name.startswith("daemon/engine"))
        if not node.name.startswith("_") and ast.get_docstring(node) is None
        if isinstance(node, ast.ClassDef) or "overload" not in map(ast.unparse, node.decorator_list)
    ]
    assert mute == []
