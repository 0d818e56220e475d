"""Receipts: how Pub/Sub hears that messages have come, unless they are done with soon after.

Pub/Sub starts the ack timer of a message with its receipt, or ten minutes later. The library asks for one for every
response before it hands out any of its messages: each would wait for a round trip, and most short jobs are acked soon
after it. Here receipts leave aside, from a thread of their own, once their messages have been here for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

PAUSE = 0.1  # seconds; a receipt leaves after one to two of these
AT_ONCE = 1000  # as the library does: a request may have 512 KiB


class Receipts:
    """The receipts of one streaming pull. `send` gives the lease that a receipt is; it does not raise before `end`."""

    def __init__(self, send: Callable[[list[str]], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._some = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headcount-receipts", daemon=True)

    def start(self) -> None:
        """Send from now on, until `end`."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def put(self, ack_ids: Iterable[str]) -> None:
        """These have come. Called on the library's reading thread; does not block."""
        with self._lock:
            self._young.update(ack_ids)
            self._some.set()

    def replied(self, ack_id: str) -> None:
        """This one is acked or nacked: it needs no receipt any more. Any thread."""
        self._young.discard(ack_id)
        self._old.discard(ack_id)

    def end(self) -> None:
        """Send nothing more."""
        self._over.set()
        self._some.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._some.wait()
            self._over.wait(PAUSE)
            due = self._due()
            for start in range(0, len(due), AT_ONCE):
                if self._over.is_set():
                    return
                self._send_some(due[start : start + AT_ONCE])

    def _send_some(self, ack_ids: list[str]) -> None:
        try:
            self._send(ack_ids)
        except ValueError:  # the channel is closed, as it is right after `end`
            if not self._over.is_set():
                raise

    def _due(self) -> list[str]:
        with self._lock:
            due, self._old, self._young = list(self._old), self._young, set()
            if not self._old and not self._over.is_set():
                self._some.clear()
            return due
