"""Every command prints through `daemon/cli/output.py`, where text from outside is escaped."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import Source, sources

OUTPUT = "daemon/cli/output.py"
DRAWS_BARS = "daemon/cli/follow.py"  # a bar moves: it is drawn by Rich, beside texts that `escaped_text` made
PRINTS = {"print", "secho", "from_markup", "render", "render_str"}


def _prints(source: Source) -> Iterator[str]:
    """Calls that print and imports that could, with their lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in PRINTS or name.endswith((".echo", "stdout.write", "stderr.write")):
                yield f"{node.lineno} {name}"
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            yield from (f"{node.lineno} {alias.name}" for alias in node.names if node.module == "typer")
        yield from (f"{node.lineno} {module}" for module in modules if module.partition(".")[0] == "rich")


def _others() -> list[Source]:
    return [source for source in sources("daemon/cli") if source.name != OUTPUT]


@pytest.mark.parametrize("source", _others(), ids=lambda source: source.name)
def test_no_command_prints_past_the_output_module(source: Source) -> None:
    bars = [use for use in _prints(source) if use.endswith((" rich.progress", " rich.text"))]
    others = [use for use in _prints(source) if use not in bars]
    assert others == []
    assert bars == [] or source.name == DRAWS_BARS


def test_the_bars_read_no_markup() -> None:
    (source,) = [source for source in _others() if source.name == DRAWS_BARS]
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert "escaped_text" in names
    assert "TextColumn" not in names
