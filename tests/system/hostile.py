"""Text that tries to take a terminal over, rows that hold it everywhere, and a command that is typed on a terminal.

Used by test_hostile_text.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.system.commands import HEADCOUNT

TITLE, CLEAR, CSI, REVERSED = "\x1b]0;OWNED\x07", "\x1b[2J", "\x9b31m", "\u202e"
FORGED = "\neverything is fine"
HOSTILE = f"[/] [/red] [bold]{TITLE}{CLEAR}{CSI}{REVERSED}\x7f\u2028{FORGED}"
NAME = "[/x] [red]"

HANDLERS = f'''
"""A handler whose words are hostile."""
import asyncio
from pathlib import Path

from daemon import GiveUp, JobContext, job

HOSTILE = {HOSTILE!r}


@job({NAME!r}, max_attempts=1)
async def hostile(params: dict, ctx: JobContext) -> dict:
    if params.get("fails"):
        raise GiveUp(HOSTILE)
    await ctx.progress(1, 2, HOSTILE)
    while "file" in params and not Path(params["file"]).exists():
        await asyncio.sleep(0.02)
    return {{HOSTILE: HOSTILE}}
'''

ROWS = """
UPDATE worker SET host = %(text)s, revision = %(text)s;
UPDATE rejected_message SET text = %(text)s, reason = %(text)s, message_id = %(text)s;
"""

_RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def raw_characters(text: str) -> list[str]:
    """Every character but a line's end that a terminal could act on."""
    return _RAW.findall(text)


def on_a_terminal(
    *words: str, environment: Mapping[str, str], folder: Path, seen: str = "", then: Callable[[], object] = bool
) -> tuple[int, str]:
    """The exit code and everything that reached the terminal; `then` is called once `seen` is there."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*HEADCOUNT, *words],
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, called, until = b"", False, time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # its end closed
                    break
            if not called and seen.encode() in shown:
                called = True
                then()
        return child.wait(20), shown.decode(errors="replace")
    finally:
        child.kill()
        child.wait()
        os.close(ours)
