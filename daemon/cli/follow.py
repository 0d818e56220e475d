"""Following one orchestration live: a bar for all of it, and a line for each of the longest running instances.

Called by `kickoff --wait`, `status --watch` and `demo`. On a terminal it draws on standard error; elsewhere it only
waits. It looks at rows, never at notifications.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.cli.screen import lettered, margin, say, shortened

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.text import Text

    from daemon.client import Client
    from daemon.orchestration import OrchestrationState, RunningInstance

FIRST_LOOK = 0.05
LONGEST_LOOK = 0.5
LINES = 6
PATIENCE = 5.0

Naming = Callable[[int], str]
Concern = Callable[[], None]


async def follow(
    client: Client, orchestration_id: UUID, naming: Naming | None = None, concern: Concern | None = None
) -> OrchestrationState:
    """Wait until the last one is in; the final state.

    `naming` says what to call an instance, by its index; `concern` is asked at every look and raises when waiting has
    become pointless.
    """
    picture = Picture(naming or (lambda index: f"#{index}"))
    pause, hint_at = FIRST_LOOK, time.monotonic() + PATIENCE
    with picture.progress:
        while True:
            state = await client.state(orchestration_id)
            finished = state.completed_at is not None
            picture.draw(state, [] if finished else await client.running(orchestration_id, LINES))
            if finished:
                return state
            if state.running or state.finished:
                hint_at = math.inf
            elif time.monotonic() > hint_at:
                hint_at = math.inf
                say(f"nothing has started yet; to see why: headcount explain {orchestration_id}", style="yellow")
            if concern is not None:
                concern()
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, LONGEST_LOOK)


class Picture:
    """The bars of one orchestration."""

    def __init__(self, naming: Naming) -> None:
        self.progress = _bars()
        self._naming = naming
        self._whole: TaskID | None = None
        self._lines: dict[UUID, TaskID] = {}

    def draw(self, state: OrchestrationState, running: list[RunningInstance]) -> None:
        """Show this state."""
        if self._whole is None:
            self._whole = self.progress.add_task("", total=state.total, words=_words(shortened(state.job_name, 60)))
        note = (f"{state.errored} Errored", "red") if state.errored else ("", "")
        words = _words(shortened(state.job_name, 60), f"{state.finished}/{state.total}", *note)
        self.progress.update(self._whole, completed=state.finished, words=words)
        gone = self._lines.keys() - {one.job_id for one in running}
        for job_id in gone:
            self.progress.remove_task(self._lines.pop(job_id))
        for one in running:
            self._draw_line(one)

    def _draw_line(self, one: RunningInstance) -> None:
        if one.job_id not in self._lines:
            self._lines[one.job_id] = self.progress.add_task("", total=None, words=_words(""))
        done, total = one.progress.current or 0.0, one.progress.total
        count = f"{done / total:.0%}" if total else ""
        name, note = shortened(self._naming(one.index), 36), shortened(one.progress.message or "", 60)
        words = _words(f"  {name}", count, note, "dim")
        self.progress.update(self._lines[one.job_id], completed=done, total=total, words=words)


def _words(name: str, count: str = "", note: str = "", style: str = "") -> list[Text]:
    """What stands beside a bar: texts that are already letters, for nothing of them may be read as markup."""
    whole = style if style == "dim" else ""
    return [lettered(name, whole), lettered(count, whole), lettered(note, style)]


def _bars() -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn

    class Words(ProgressColumn):
        """One of a task's texts."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self._number = number

        def render(self, task: Task) -> Text:
            text: Text = task.fields["words"][self._number]
            return text

    return Progress(
        Words(0),
        BarColumn(bar_width=32),
        Words(1),
        TimeElapsedColumn(),
        Words(2),
        console=margin(),
        disable=not margin().is_terminal,
    )
