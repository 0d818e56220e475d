"""The command line of a job: what a handler with `executor="command"` returns.

Made by job authors (through the door), run by the executor. It starts nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments, started without a shell: `Command(["convert", str(params.source), "out.png"])`.

    `arguments` begins with the program, looked for on PATH unless it holds a slash. `env` is added to the worker's
    environment, which is passed on without Headcount's own variables; `cwd` is the worker's current folder by default.
    `give_up_on` are exit codes after which the job is not tried again, such as 64 and 65 (EX_USAGE, EX_DATAERR).
    Raises ValueError without a program, for a text with a NUL character, or for what is no exit code of a failure;
    TypeError for anything but strings.
    """

    arguments: Sequence[str | os.PathLike[str]]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | os.PathLike[str] | None = None
    give_up_on: Sequence[int] = ()

    def __post_init__(self) -> None:
        if isinstance(self.arguments, str):
            raise TypeError("arguments is one text: give the program and each of its arguments as a list")
        if not self.argv or not self.argv[0]:
            raise ValueError("arguments is empty: it begins with the program")
        if any("\x00" in text for text in (*self.argv, *self.env, *self.env.values(), os.fspath(self.cwd or ""))):
            raise ValueError("an argument, a variable or the folder holds a NUL character")
        if wrong := [code for code in self.give_up_on if code not in range(1, 256)]:
            raise ValueError(f"give_up_on holds exit codes of failures, 1 to 255, not {wrong[0]!r}")

    @property
    def argv(self) -> list[str]:
        """The program and its arguments as texts."""
        return [_text(argument) for argument in self.arguments]


def _text(argument: str | os.PathLike[str]) -> str:
    text = os.fspath(argument)
    if not isinstance(text, str):
        raise TypeError(f"an argument is {type(text).__name__}, not a text")
    return text
