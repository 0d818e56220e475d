"""An observer that writes down everything it hears.

Used by the tests of the engine, which assert on what was reported instead of on log lines.
"""

from __future__ import annotations

from functools import partial

from daemon.observe import Observer


class Listening(Observer):
    """`heard` holds (method, arguments) in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[object, ...]]] = []
        for name in vars(Observer):
            if not name.startswith("_"):
                setattr(self, name, partial(self._hear, name))

    def _hear(self, name: str, *arguments: object) -> None:
        self.heard.append((name, arguments))

    def all(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of every call of one method."""
        return [arguments for heard, arguments in self.heard if heard == name]
