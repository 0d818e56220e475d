"""docs/architecture.md names functions that exist, and its walks stay short."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.sources import REPOSITORY

PAGE = REPOSITORY / "docs" / "architecture.md"
ROW = re.compile(r"^\| \d+[^|]*\| `(?P<file>[^`]+)` \| `(?P<name>[^`]+)` \|", re.MULTILINE)
LONGEST = {"A message, from the stream to its ack and its event": 35, "A stop": 15}


def _walks() -> dict[str, list[tuple[str, str]]]:
    sections = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    walks = {title: ROW.findall(text) for title, text in zip(sections[::2], sections[1::2], strict=True)}
    return {title: steps for title, steps in walks.items() if steps}


def _functions(file: str) -> set[str]:
    """The functions of a file under their qualified names."""
    found = set()

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + child.name)
                look(child, f"{prefix}{child.name}.")

    look(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")), "")
    return found


def test_the_page_has_five_walks() -> None:
    assert len(_walks()) == 5


@pytest.mark.parametrize(("file", "name"), sorted({step for steps in _walks().values() for step in steps}))
def test_every_function_on_the_page_exists(file: str, name: str) -> None:
    assert name in _functions(file)


@pytest.mark.parametrize("title", LONGEST)
def test_the_longest_walks_stay_within_their_bounds(title: str) -> None:
    assert 0 < len(_walks()[title]) <= LONGEST[title]
