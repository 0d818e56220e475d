"""What one client has been told about an orchestration, and what it is to be told next.

Made for a stream or a long poll. It has no queue: a slow client finds the newest state, and the transitions since its
own place, in the watch; when those are no longer there it gets a fresh snapshot. It does no input or output.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.api.streams.watch import Watch
from daemon.progress_link import Shown
from daemon.rules.cursor import Cursor, parse_cursor

UNKNOWN = Cursor("", -1, -1)


@dataclass(frozen=True, slots=True)
class Update:
    """What to tell at once, each part as JSON: a snapshot (instead of facts), or facts; then the state.

    `cursor` is the place after it; with `final` it is the last one of this generation.
    """

    cursor: Cursor
    snapshot: bytes | None
    facts: tuple[bytes, ...]
    state: bytes
    final: bool


class Follower:
    """One client. `given` is the cursor that it came with, '' when it had none; `show` is what its link shows, None for
    all there is."""

    def __init__(self, watch: Watch, given: str = "", show: frozenset[Shown] | None = None) -> None:
        self._watch = watch
        self._show = show
        self._at = (parse_cursor(given) or UNKNOWN) if given else None
        self._version = -1
        self.finished = False

    @property
    def has_all(self) -> bool:
        """Whether it came with the final cursor of what is still the newest generation."""
        at, watch = self._at, self._watch
        return at is not None and at.final and watch.final and _without_final(at) == watch.cursor

    @property
    def doubts(self) -> bool:
        """Whether what it knows is newer than the watch may be: then a look that began after it came must decide."""
        return self._at is not None and (self._at.final or not self._is_known())

    @property
    def knew_it(self) -> bool:
        """Whether it came with a cursor of an orchestration that was registered."""
        return self._at is not None and self._at.generation > 0

    @property
    def lacks_nothing(self) -> bool:
        """Whether no transition, and no end, has happened since its cursor."""
        return self._is_known() and not self._watch.final and self._without_facts()

    @property
    def key(self) -> tuple[object, ...]:
        """Followers with the same key are told the same."""
        return (self._at, self._version, self._show)

    def next(self) -> Update | None:
        """What it has not been told yet; None when there is nothing. It counts as told from now on."""
        watch = self._watch
        if not watch.looked or watch.gone or self._version == watch.version or self.finished:
            return None
        snapshot: bytes | None = None
        facts: tuple[bytes, ...] = ()
        if self._is_known():
            assert self._at is not None
            facts = tuple(watch.facts_after(self._at.finish_number)) if self._shows_facts else ()
        else:
            snapshot = self._snapshot(reset=self._at is not None and self._at.generation != 0)
        cursor = watch.cursor
        self._at, self._version, self.finished = cursor, watch.version, watch.final
        shown = Cursor(cursor.epoch, cursor.generation, cursor.finish_number, watch.final)
        return Update(shown, snapshot, facts, watch.shown(self._show), watch.final)

    def _snapshot(self, *, reset: bool) -> bytes:
        """Its state, and every instance that has finished in this generation unless there are too many (null)."""
        watch = self._watch
        known = self._shows_facts and watch.whole and watch.floor == 0
        facts = b"[" + b",".join(watch.facts_after(0)) + b"]" if known else b"null"
        state = watch.shown(self._show)
        return b'{"reset":%s,"state":%s,"facts":%s}' % (b"true" if reset else b"false", state, facts)

    @property
    def _shows_facts(self) -> bool:
        return self._show is None or Shown.FACTS in self._show

    def _without_facts(self) -> bool:
        return self._at is not None and not self._watch.facts_after(self._at.finish_number)

    def _is_known(self) -> bool:
        at, watch = self._at, self._watch
        return (
            at is not None
            and (at.epoch, at.generation) == (watch.epoch, watch.generation)
            and watch.floor <= at.finish_number <= watch.finish_number
        )


def _without_final(cursor: Cursor) -> Cursor:
    return Cursor(cursor.epoch, cursor.generation, cursor.finish_number)
