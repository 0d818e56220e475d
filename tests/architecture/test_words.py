"""One word per idea, and the project speaks of itself only."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import REPOSITORY, sources

NO_IDEA = re.compile(r"(^|_)(helpers?|utils?|utilit(y|ies)|managers?|common|base|processors?|misc|stuff|info)(_|$)")
STATES = {"Pending", "Queueing", "Succeeded", "Success", "Failure", "Done", "Cancelling", "InQueue"}
ELSEWHERE = re.compile(
    r"--(extra-)?index-url|(?<![\w.$}])/(home|root|Users|work)/\w|\b(artifactory|nexus|devpi)\b", re.I
)
# Private words, each with the usual term for its idea. The first list holds for names, texts and files, the second
# (words that plain English needs too) for names only.
BANNED = {
    "graveyard": "store of dead letters",
    "hearer": "observer",
    "mend": "fix",
    "mended": "fixed",
    "mending": "fix",
    "mends": "fixes",
    "pulse": "heartbeat",
}
BANNED_AS_NAMES = {
    "mild": "advice",
    "bury": "record a dead letter",
    "standing": "snapshot",
    "standings": "snapshot",
    "sight": "view",
}
ALLOWED: dict[str, str] = {}  # name or text -> why it may hold one of them
SPOKEN = {".py", ".md", ".toml", ".yml", ".yaml", ".lock", ".tf", ".json", ".cfg", ".ini", ".sh", ""}


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs git (apt install git)")
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def test_no_file_has_a_name_without_an_idea() -> None:
    named = [path for path in _tracked() if any(NO_IDEA.search(part.partition(".")[0].lower()) for part in path.parts)]
    assert named == []


def test_no_class_or_function_has_a_name_without_an_idea() -> None:
    named = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in sources("daemon", "handlers", "tests")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if NO_IDEA.search(_snake(node.name)) and not node.name.startswith("test_")
    ]
    assert named == []


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a file makes or uses, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
                yield node.lineno, name


def _private(text: str, banned: Collection[str]) -> set[str]:
    return set(re.findall(r"[a-z]+", _snake(text))) & set(banned)


def test_where_the_field_has_a_term_that_is_the_name() -> None:
    found = []
    for source in sources("daemon", "handlers", "migrations", "tests"):
        if source.name == str(Path(__file__).relative_to(REPOSITORY)) or source.name.startswith("migrations/versions/"):
            continue
        names = [(line, name, {**BANNED, **BANNED_AS_NAMES}) for line, name in _names(source.tree)]
        names.append((0, Path(source.name).stem, {**BANNED, **BANNED_AS_NAMES}))
        texts = [
            (node.lineno, node.value, BANNED)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        found += [
            f"{source.name}:{line} {word}: say {banned[word]}"
            for line, text, banned in names + texts
            for word in _private(text, banned)
            if text not in ALLOWED
        ]
    assert found == []


def test_a_job_has_three_statuses_and_no_others_are_spoken_of() -> None:
    from daemon.job import Status

    assert {status.value for status in Status} == {"InProgress", "Completed", "Errored"}
    named = [
        f"{source.name}:{node.lineno}"
        for source in sources("daemon")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and node.value in STATES
    ]
    assert named == []


def test_test_names_are_sentences() -> None:
    short = [
        f"{source.name}:{function.lineno} {function.name}"
        for source in sources("tests")
        for function in source.functions()
        if function.name.startswith("test_") and function.name.count("_") < 3
    ]
    assert short == []


def test_no_file_speaks_of_the_machine_it_was_written_on() -> None:
    spoken = [
        f"{path.relative_to(REPOSITORY)}:{number} {found.group()}"
        for path in _tracked()
        if path.suffix in SPOKEN and path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (found := ELSEWHERE.search(line))
    ]
    assert spoken == []


def test_fakes_are_small() -> None:
    assert {one.name: one.length for one in sources("tests/fakes") if one.length > 80} == {}
