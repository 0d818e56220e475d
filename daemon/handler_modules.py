"""Importing every module of the handler packages, which is the author's code and may fail in any way.

Called by the registry's discovery.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from daemon.errors import HandlersInvalid

NEW_REPOSITORY = "headcount new example && cd example"


def put_on_path(folder: Path) -> None:
    """Have Python look for modules in a folder, first of all."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def modules(package: str, folder: Path) -> Iterator[ModuleType]:
    """A package and every module in it, imported. Raises HandlersInvalid with file and line when one can't be."""
    root = _import(package, folder)
    yield root
    for found in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}."):
        yield _import(found.name, folder)


def _import(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name or name.startswith(f"{error.name}."):
            raise HandlersInvalid(
                f"There is no handler package {name!r} in {folder.resolve()}.", NEW_REPOSITORY
            ) from None
        own = (error.name or "").partition(".")[0] == name.partition(".")[0]
        raise HandlersInvalid(
            f"{_culprit(error, name)}: {error}.", None if own else f"pip install {error.name}"
        ) from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise HandlersInvalid(f"{_culprit(error, name)}: {type(error).__name__}: {error}.") from error


def _culprit(error: BaseException, name: str) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else f"The handlers module {name!r}"
