"""The values that are made for every job are not frozen by Python; nobody changes them all the same."""

from __future__ import annotations

import ast
import dataclasses

import pytest

from daemon.job import Claim, JobMessage, Settlement
from tests.architecture.sources import Source, sources

VALUES = {"message": JobMessage, "claim": Claim, "settlement": Settlement}


FLOORS = ("daemon/engine", "daemon/rules", "daemon/postgres", "daemon/telemetry", "daemon/service")


@pytest.mark.parametrize("source", sources(*FLOORS), ids=lambda source: source.name)
def test_nobody_changes_a_message_a_claim_or_a_settlement(source: Source) -> None:
    changed = [
        ast.unparse(target)
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Assign, ast.AugAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)
        if (kind := VALUES.get(target.value.id)) and target.attr in {field.name for field in dataclasses.fields(kind)}
    ]
    assert changed == []
