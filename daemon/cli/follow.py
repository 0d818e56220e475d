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

from daemon.cli.output import echo_err, err_console, escaped_text, shorten

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.text import Text

    from daemon.client import Client
    from daemon.orchestration import OrchestrationState, RunningInstance

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5
LINES = 6
HINT_SECONDS = 5.0

Label = Callable[[int], str]
Check = Callable[[], None]


async def follow(
    client: Client, orchestration_id: UUID, label: Label | None = None, check: Check | None = None
) -> OrchestrationState:
    """Wait until the last one is in; the final state.

    `label` names an instance, by its index; `check` is called at every poll and raises when waiting is pointless.
    """
    view = ProgressView(label or (lambda index: f"#{index}"))
    pause, hint_at = FIRST_PAUSE, time.monotonic() + HINT_SECONDS
    with view.progress:
        while True:
            state = await client.state(orchestration_id)
            finished = state.completed_at is not None
            view.draw(state, [] if finished else await client.running(orchestration_id, LINES))
            if finished:
                return state
            if state.running or state.finished:
                hint_at = math.inf
            elif time.monotonic() > hint_at:
                hint_at = math.inf
                echo_err(f"nothing has started yet; to see why: headcount explain {orchestration_id}", style="yellow")
            if check is not None:
                check()
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)


class ProgressView:
    """The bars of one orchestration."""

    def __init__(self, label: Label) -> None:
        self.progress = _bars()
        self._label = label
        self._whole: TaskID | None = None
        self._lines: dict[UUID, TaskID] = {}

    def draw(self, state: OrchestrationState, running: list[RunningInstance]) -> None:
        if self._whole is None:
            self._whole = self.progress.add_task("", total=state.total, words=_words(shorten(state.job_name, 60)))
        note = (f"{state.errored} Errored", "red") if state.errored else ("", "")
        words = _words(shorten(state.job_name, 60), f"{state.finished}/{state.total}", *note)
        self.progress.update(self._whole, completed=state.finished, words=words)
        for job_id in self._lines.keys() - {instance.job_id for instance in running}:
            self.progress.remove_task(self._lines.pop(job_id))
        for instance in running:
            self._draw_line(instance)

    def _draw_line(self, instance: RunningInstance) -> None:
        if instance.job_id not in self._lines:
            self._lines[instance.job_id] = self.progress.add_task("", total=None, words=_words(""))
        done, total = instance.progress.current or 0.0, instance.progress.total
        count = f"{done / total:.0%}" if total else ""
        name, note = shorten(self._label(instance.index), 36), shorten(instance.progress.message or "", 60)
        words = _words(f"  {name}", count, note, "dim")
        self.progress.update(self._lines[instance.job_id], completed=done, total=total, words=words)


def _words(name: str, count: str = "", note: str = "", style: str = "") -> list[Text]:
    """What stands beside a bar: texts that are already letters, for nothing of them may be read as markup."""
    whole = style if style == "dim" else ""
    return [escaped_text(name, whole), escaped_text(count, whole), escaped_text(note, style)]


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
        console=err_console(),
        disable=not err_console().is_terminal,
    )
