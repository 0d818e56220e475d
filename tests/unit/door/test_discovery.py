"""Discovery: what is found, and what is refused with file and line before any job can meet it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from daemon.errors import HandlersInvalid
from daemon.registry import NEW_REPOSITORY, Registry, discover
from tests.unit.door.packages import IMPORTS, a_package

PAINT = IMPORTS + '@job("paint")\nasync def paint(params: dict, ctx: JobContext) -> None:\n    pass\n'


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def _refusal(folder: Path, *packages: str) -> HandlersInvalid:
    with pytest.raises(HandlersInvalid) as caught:
        discover(packages, folder)
    return caught.value


def _found(folder: Path, source: str) -> Registry:
    return discover([a_package(folder, paint=source)], folder)


def test_every_module_of_every_package_is_searched(tmp_path: Path) -> None:
    first = a_package(tmp_path, paint=PAINT)
    second = a_package(tmp_path, __init__=PAINT.replace("paint", "scan"), copy="from . import scan\n")
    registry = discover([first, second], tmp_path)
    assert registry.names == ("paint", "scan")
    assert [handler.name for handler in registry] == ["paint", "scan"]
    assert len(registry) == 2
    assert registry.find("nothing") is None


def test_a_handler_is_run_as_it_is_written(tmp_path: Path) -> None:
    registry = _found(
        tmp_path,
        IMPORTS
        + '@job("a", timeout=3, concurrency=2, max_attempts=7)\nasync def a(params: dict): ...\n'
        + '@job("b")\ndef b(params: dict, ctx: JobContext): ...\n',
    )
    one, two = registry.find("a"), registry.find("b")
    assert one is not None
    assert two is not None
    assert (one.executor, one.wants_context, one.timeout, one.concurrency) == ("async", False, 3, 2)
    assert one.policy.max_attempts == 7
    assert (two.executor, two.wants_context, two.timeout) == ("thread", True, None)
    assert one.location.endswith("paint.py:2")


def test_a_handler_that_others_import_counts_once(tmp_path: Path) -> None:
    package = a_package(tmp_path, a=PAINT, b="from .a import paint\nagain = paint\n")
    assert discover([package], tmp_path).names == ("paint",)


def test_two_handlers_of_one_name_are_refused_with_both_locations(tmp_path: Path) -> None:
    problem = _refusal(tmp_path, a_package(tmp_path, a=PAINT, b=PAINT)).problem
    assert "'paint'" in problem
    assert "a.py:2" in problem
    assert "b.py:2" in problem


REFUSED = {
    "no annotation": ("@job('x')\ndef x(params): ...", "has no annotation"),
    "no parameter": ("@job('x')\ndef x(): ...", "takes the params"),
    "three parameters": ("@job('x')\ndef x(params: dict, ctx: JobContext, more: int): ...", "no @lifespan yields"),
    "an unnamed third": ("@job('x')\ndef x(params: dict, ctx: JobContext, more): ...", "has no type"),
    "a context that comes third": ("@job('x')\ndef x(params: dict, n: int, ctx: JobContext): ...", "comes second"),
    "keyword only": ("@job('x')\ndef x(*, params: dict): ...", "by position"),
    "any number": ("@job('x')\ndef x(*params: dict): ...", "by position"),
    "another context": ("@job('x')\ndef x(params: dict, ctx: int): ...", "no @lifespan yields"),
    "unusable type": ("class Odd: ...\n@job('x')\ndef x(params: Odd): ...", "can't validate"),
    "unknown annotation": ("@job('x')\ndef x(params: 'Nowhere'): ...", "can't be read"),
    "model that names nothing": (
        "from pydantic import BaseModel\nclass M(BaseModel):\n    a: 'Nowhere'\n@job('x')\ndef x(params: M): ...",
        "can't validate",
    ),
    "unknown executor": ("@job('x', executor='gpu')\ndef x(params: dict): ...", "'gpu' is unknown"),
    "async in a thread": ("@job('x', executor='thread')\nasync def x(params: dict): ...", "made by def"),
    "plain on the loop": ("@job('x', executor='async')\ndef x(params: dict): ...", "made by async def"),
    "generator": ("@job('x')\ndef x(params: dict):\n    yield 1", "yields"),
    "async generator": ("@job('x')\nasync def x(params: dict):\n    yield 1", "yields"),
    "empty name": ("@job('')\ndef x(params: dict): ...", "job_name must be"),
    "no attempts": ("@job('x', max_attempts=0)\ndef x(params: dict): ...", "at least 1"),
    "no time": ("@job('x', timeout=0)\ndef x(params: dict): ...", "above 0"),
    "no time that is": ("@job('x', timeout=float('nan'))\ndef x(params: dict): ...", "above 0"),
    "no time overall": ("@job('x', overall_timeout=0)\ndef x(params: dict): ...", "above 0"),
    "no exception": ("@job('x', retry_on=(int,))\ndef x(params: dict): ...", "types of exceptions"),
    "an exception itself": ("@job('x', give_up_on=KeyError('a'))\ndef x(params: dict): ...", "types of exceptions"),
    "nobody at once": ("@job('x', concurrency=0)\ndef x(params: dict): ...", "at least 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_handler_that_could_never_run_is_refused_with_file_and_line(kind: str, tmp_path: Path) -> None:
    source, words = REFUSED[kind]
    problem = _refusal(tmp_path, a_package(tmp_path, odd=IMPORTS + source)).problem
    assert words in problem
    assert f"odd.py:{IMPORTS.count(chr(10)) + source.splitlines().index(_mark(source)) + 1}" in problem


def _mark(source: str) -> str:
    return next(line for line in source.splitlines() if line.startswith("@job"))


def test_a_syntax_error_is_refused_with_file_and_line(tmp_path: Path) -> None:
    problem = _refusal(tmp_path, a_package(tmp_path, odd="x = 1\ndef broken(:\n")).problem
    assert "odd.py:2" in problem
    assert "SyntaxError" in problem


@pytest.mark.parametrize("error", ["ValueError('boom')", "SystemExit(3)"])
def test_a_module_that_raises_is_refused_with_file_and_line(error: str, tmp_path: Path) -> None:
    problem = _refusal(tmp_path, a_package(tmp_path, odd=f"x = 1\nraise {error}\n")).problem
    assert "odd.py:2" in problem
    assert error.partition("(")[0] in problem


def test_a_missing_requirement_names_the_command_that_installs_it(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, a_package(tmp_path, odd="import not_installed_anywhere\n"))
    assert "odd.py:1" in refusal.problem
    assert refusal.fix == "pip install not_installed_anywhere"


def test_a_missing_module_of_the_own_package_is_not_looked_for_on_an_index(tmp_path: Path) -> None:
    package = a_package(tmp_path, odd="from . import there\nfrom .nowhere import x\n", there="")
    refusal = _refusal(tmp_path, package)
    assert "odd.py:2" in refusal.problem
    assert refusal.fix is None


def test_a_missing_package_names_the_folder_that_was_searched(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, "no_such_package_of_handlers")
    assert str(tmp_path.resolve()) in refusal.problem
    assert refusal.fix == NEW_REPOSITORY


def test_a_package_without_handlers_is_refused(tmp_path: Path) -> None:
    package = a_package(tmp_path, empty="x = 1\n")
    assert package in _refusal(tmp_path, package).problem


def test_an_interrupt_while_importing_is_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        discover([a_package(tmp_path, odd="raise KeyboardInterrupt\n")], tmp_path)
