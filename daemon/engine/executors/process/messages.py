"""What a worker and its child process say to each other: JSON texts, each in a frame that begins with its length.

Used by both ends of the pipe. `number` is the child's how manieth job a message is about: what a thread of an earlier
job still says is not taken for the current one's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from daemon.job import Claim, Failed, Interrupted, Progress, Returned, StopReason
from daemon.observe import LogLine

LENGTH = struct.Struct(">I")
EXIT_PIPE_CLOSED = 86
"""The exit code of a child whose handler has closed its end of the pipe."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a child: where its handlers are. `path` is sys.path, `log_level` a name, sizes are bytes."""

    packages: tuple[str, ...]
    folder: str
    path: tuple[str, ...]
    log_level: str
    result_limit: int
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class Run:
    """Run the handler of this claim. `timeout` is seconds for this attempt, `memory` how many bytes it may use."""

    number: int
    claim: Claim
    timeout: float | None
    memory: int | None
    kind: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class Stop:
    """The handler should stop."""

    number: int
    reason: StopReason
    kind: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True)
class Answer:
    """To a Note or a Save: `stored` is whether the claim still holds, `full` whether to wait for Room before the next.

    `refused` says why it was not taken.
    """

    call: int
    stored: bool = True
    full: bool = False
    refused: str | None = None
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True)
class Room:
    """There is room for notes again."""

    number: int
    kind: Literal["room"] = "room"


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has imported the handlers."""

    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Report:
    """The newest progress."""

    number: int
    progress: Progress
    kind: Literal["report"] = "report"


@dataclass(frozen=True, slots=True)
class Note:
    """A note for the end user; `call` is answered."""

    number: int
    call: int
    text: str
    kind: Literal["note"] = "note"


@dataclass(frozen=True, slots=True)
class Save:
    """A checkpoint to store; `call` is answered when it is."""

    number: int
    call: int
    checkpoint: str
    kind: Literal["save"] = "save"


@dataclass(frozen=True, slots=True)
class Log:
    """A log line of the handler or of a library that it uses."""

    line: LogLine
    kind: Literal["log"] = "log"


@dataclass(frozen=True, slots=True)
class Ended:
    """The handler has ended. `memory` is how many bytes the child takes now.

    `spoiled`: the child can't be used again, because memory ran out in it or processes of its own are left.
    """

    number: int
    result: Returned | Failed | Interrupted
    memory: int
    spoiled: bool
    kind: Literal["ended"] = "ended"


ToChild = Start | Run | Stop | Answer | Room
FromChild = Ready | Report | Note | Save | Log | Ended

_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="kind")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])


def frame_to_child(message: ToChild) -> bytes:
    """A message as the bytes that are sent."""
    return _framed(_TO_CHILD.dump_json(message))


def frame_from_child(message: FromChild) -> bytes:
    """A message as the bytes that are sent."""
    return _framed(_FROM_CHILD.dump_json(message))


def to_child(body: bytes) -> ToChild:
    """The message in a frame, without its length. Raises ValueError."""
    return _TO_CHILD.validate_json(body)


def from_child(body: bytes) -> FromChild:
    """The message in a frame, without its length. Raises ValueError."""
    return _FROM_CHILD.validate_json(body)


def _framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body
