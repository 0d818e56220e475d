"""One attempt in a child process, as the worker sees it: what the child says about it, and its result.

Made by the executor, fed by the child's messages on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from daemon.engine.executors.process.messages import Answer, Ended, Note, Report, Room, Save, ToChild
from daemon.errors import TooManyNotes
from daemon.job import Claim, Failed, Interrupted, Returned
from daemon.recorder import Recorder
from daemon.rules.storable import safe_str

ROOM_SECONDS = 0.05


class RemoteRun:
    """Passes on what the handler reports to the worker's recorder; `ended` is None when the child died instead."""

    def __init__(self, number: int, claim: Claim, recorder: Recorder, send: Callable[[ToChild], None]) -> None:
        self.number = number
        self.claim = claim
        self.ended: asyncio.Future[Returned | Failed | Interrupted | None]
        self.ended = asyncio.get_running_loop().create_future()
        self._recorder = recorder
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, message: Report | Note | Save | Ended) -> None:
        """The child said this about it."""
        match message:
            case Report():
                self._recorder.progress(self.claim, message.progress)
            case Note():
                self._note(message)
            case Save():
                self._start(self._save(message))
            case Ended():
                self.end(message.result)

    def end(self, result: Returned | Failed | Interrupted | None) -> None:
        """Nothing more comes."""
        for task in self._tasks:
            task.cancel()
        if not self.ended.done():
            self.ended.set_result(result)

    def _note(self, note: Note) -> None:
        try:
            full = bool(self._recorder.note(self.claim, note.text))
        except TooManyNotes as error:
            self._send(Answer(note.call, refused=str(error)))
            return
        self._send(Answer(note.call, full=full))
        if full:
            self._start(self._wait_for_room())

    async def _wait_for_room(self) -> None:
        while not self._recorder.has_room(self.claim):
            if self.ended.done():
                return
            await asyncio.sleep(ROOM_SECONDS)
        self._send(Room(self.number))

    async def _save(self, save: Save) -> None:
        try:
            answer = Answer(save.call, stored=await self._recorder.save(self.claim, save.checkpoint))
        except Exception as error:  # raised in the handler, as it would be if that ran here
            answer = Answer(save.call, refused=f"{type(error).__name__}: {safe_str(error)}")
        self._send(answer)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
