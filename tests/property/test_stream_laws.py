"""Whatever happens between a database and those who follow it, each of them is told every transition once, in order.

The database here is a list of transitions with generations; processes come and go, clients are cut off at any frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.api.streams.events import frames
from daemon.api.streams.follower import Follower
from daemon.api.streams.watch import Watch
from daemon.job import Kind, Status
from daemon.live import LiveState, Position, Transition
from daemon.orchestration import Outcome
from daemon.rules.cursor import Cursor, parse_cursor

ID = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, WINDOW = 6, 8


@dataclass
class Database:
    """One orchestration's truth, and what a look finds in it, as the statement does."""

    total: int
    epoch: str = "e0"
    generation: int = 0
    finishes: int = 0
    finished: dict[int, Transition] = field(default_factory=dict)

    def finish(self, fails: bool) -> None:
        open_ones = sorted(set(range(self.total)) - self.finished.keys())
        if not self.generation or not open_ones:
            return
        self.finishes += 1
        status = Status.ERRORED if fails else Status.COMPLETED
        kind = Kind.RAISED if fails else None
        self.finished[open_ones[0]] = Transition(self.finishes, open_ones[0], UUID(int=open_ones[0]), status, kind)

    def retry(self) -> None:
        if len(self.finished) == self.total:
            self.generation += 1
            self.finished = {i: one for i, one in self.finished.items() if one.status is Status.COMPLETED}

    def look(self, position: Position) -> LiveState | None:
        if not self.generation:
            return None
        since = position.finish_number if position.generation == self.generation else 0
        whole = self.total <= SMALL
        since = since if whole else max(since, self.finishes - WINDOW)
        errored = sum(one.status is Status.ERRORED for one in self.finished.values())
        shown = [
            one
            for one in sorted(self.finished.values(), key=lambda one: one.finish_number)
            if one.finish_number > since and (whole or one.status is Status.ERRORED)
        ]
        complete = len(self.finished) == self.total
        return LiveState(
            ID, self.generation, "count", self.total, len(self.finished) - errored, errored, 0, self.finishes, NOW,
            None, None, NOW if complete else None, Outcome.PARTIAL if complete else None, since, whole, (),
            tuple(shown),
        )  # fmt: skip


@dataclass
class Client:
    """A page with an EventSource: it remembers the last id, and what it was told since its last snapshot."""

    last: str = ""
    state: dict[str, Any] | None = None
    told: list[int] = field(default_factory=list)
    whole: bool = True
    complete: bool = False
    follower: Follower | None = None

    def read(self, watch: Watch, frames_read: int) -> None:
        """Take what there is; the connection is cut after so many frames."""
        follower = self.follower or Follower(watch, self.last)
        self.follower = follower
        update = follower.next()
        if update is None:
            return
        texts = frames(update).decode().split("\n\n")[:-1]
        for text in texts[:frames_read]:
            event, identifier, data = (line.partition(": ")[2] for line in text.split("\n"))
            self._hear(event, json.loads(data))
            self.last = identifier
        if frames_read < len(texts) or follower.finished:
            self.follower = None

    def _hear(self, event: str, data: Any) -> None:
        if event == "facts":
            self.told += [fact["finish_number"] for fact in data]
        elif event == "snapshot":
            self.whole = data["facts"] is not None
            self.told = [fact["finish_number"] for fact in data["facts"] or ()]
            self.state, self.complete = data["state"], False
        else:
            self.state, self.complete = data, event == "final"
        assert self.told == sorted(set(self.told)), "a transition was told twice, or out of order"


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["register", "complete", "fail", "fail", "complete", "retry", "look", "look", "restart"]),
        st.sampled_from(["restore"]),
        st.tuples(st.integers(0, 2), st.integers(0, 4)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([3, SMALL, 30]), st.integers(2, 10))
def test_every_fact_is_told_once_in_order_whatever_is_cut_or_started_again(steps: Any, total: int, kept: int) -> None:
    database, watch = Database(total), Watch(ID, max(kept, SMALL))
    clients = [Client() for _ in range(3)]

    def look() -> None:
        watch.apply(database.epoch, database.look(watch.position))

    for step in steps:
        match step:
            case "register":
                database.generation = max(database.generation, 1)
            case "complete" | "fail":
                database.finish(step == "fail")
            case "retry":
                database.retry()
            case "look":
                look()
            case "restart":
                watch = Watch(ID, max(kept, SMALL))
                for client in clients:
                    client.follower = None
            case "restore":
                database.epoch += "0"
            case (number, cut):
                clients[number].read(watch, cut)
    database.generation = max(database.generation, 1)
    while len(database.finished) < total:
        database.finish(fails=False)
        look()
    for _ in range(2):  # the second one, where the epoch has changed
        look()
    for client in clients:
        for _ in range(3):
            client.read(watch, 9)
        assert client.complete
        assert client.state is not None
        assert (client.state["completed"] + client.state["errored"], client.state["generation"]) == (
            total,
            database.generation,
        )
        if total <= SMALL:
            assert client.told == sorted(one.finish_number for one in database.finished.values())
        assert Follower(watch, client.last).has_all


@given(st.text(max_size=40))
def test_a_text_is_a_cursor_only_if_it_is_written_like_one(text: str) -> None:
    found = parse_cursor(text)
    assert found is None or str(found).split(".")[0] == text.split(".")[0]


@given(st.integers(0, 2**31 - 1), st.integers(0, 9999), st.booleans())
def test_a_cursor_is_read_as_it_was_written(number: int, generation: int, final: bool) -> None:
    cursor = Cursor("ab12", generation, number, final)
    assert parse_cursor(str(cursor)) == cursor


def test_followers_of_a_giant_are_told_its_failures_and_start_anew_when_they_fell_behind() -> None:
    database, watch = Database(1_000), Watch(ID)
    database.generation = 1
    watch.apply("e", database.look(watch.position))
    follower, slow = Follower(watch), Follower(watch)
    first = follower.next()
    assert first is not None
    slow.next()
    for fails in (False, True, False):
        database.finish(fails)
    watch.apply("e", database.look(watch.position))
    update = follower.next()
    assert update is not None
    assert [json.loads(fact)["finish_number"] for fact in update.facts] == [2]
    for _ in range(WINDOW + 5):
        database.finish(True)
    watch.apply("e", database.look(watch.position))
    late = slow.next()
    assert late is not None
    assert late.snapshot is not None
    assert json.loads(late.snapshot)["reset"] is True
