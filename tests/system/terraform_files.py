"""The module in deploy/terraform, read: its blocks, and every reference and attribute in them.

Used by test_deploy_terraform. It evaluates nothing; `terraform` itself does that where it is installed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2

MODULE = Path(__file__).resolve().parents[2] / "deploy" / "terraform"
REFERENCE = re.compile(r"\b(?:data\.)?(?:google|random)_[a-z0-9_]+\.[a-z_]+|\b(?:var|local)\.[a-z_]+")
META = {"count", "for_each", "depends_on", "lifecycle", "provider"}

Block = dict[str, Any]


def files() -> dict[str, Block]:
    return {path.name: hcl2.loads(path.read_text()) for path in sorted(MODULE.glob("*.tf"))}


def blocks(kind: str) -> Iterator[tuple[str, Block]]:
    """(name, body) of all variables or outputs; (type.name, body) of all resources or data sources."""
    for content in files().values():
        for block in content.get(kind, []):
            for first, inner in _labelled(block):
                if kind in ("variable", "output"):
                    yield first, inner
                else:
                    yield from ((f"{first}.{second}", body) for second, body in _labelled(inner))


def locals_defined() -> set[str]:
    return {name for content in files().values() for block in content.get("locals", []) for name, _ in _plain(block)}


def references() -> set[str]:
    """Every var.x, local.x and resource in an expression; data sources with their `data.`"""
    found: set[str] = set()
    for path in MODULE.glob("*.tf"):
        lines = path.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
        found |= set(REFERENCE.findall(text))
    return found


def awaited(name: str) -> set[str]:
    """Every resource that is there before this one (`type.name`): what it refers to, directly or through locals."""
    bodies: dict[str, str] = {name: str(body) for name, body in blocks("resource")}
    bodies |= {
        f"local.{name}": str(value)
        for content in files().values()
        for block in content.get("locals", [])
        for name, value in _plain(block)
    }
    found: set[str] = set()
    open_names = [name]
    while open_names:
        referred = set(REFERENCE.findall(bodies.get(open_names.pop(), ""))) - found
        found |= referred
        open_names += referred
    return {one for one in found if one in bodies and not one.startswith("local.")}


def attributes(body: Block, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of the block, attribute) for every attribute and block of a resource, dynamic blocks included."""
    for name, value in _plain(body):
        if not path and name in META:
            continue
        if name == "dynamic":
            for one in value:
                for inner, content in _labelled(one):
                    yield path, inner
                    for part in content["content"]:
                        yield from attributes(part, (*path, inner))
            continue
        yield path, name
        for one in value if isinstance(value, list) else []:
            if isinstance(one, dict) and one.get("__is_block__"):
                yield from attributes(one, (*path, name))


def text_of(value: object) -> str:
    """A literal without its quotes; an expression as it stands."""
    return str(value).strip('"')


def _plain(block: Block) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in block.items() if not name.startswith("__"))


def _labelled(block: Block) -> Iterator[tuple[str, Block]]:
    return ((name.strip('"'), body) for name, body in _plain(block))
