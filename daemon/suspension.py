"""A job that gives its slot, claim and memory back and goes on later: how that is said from the handler to the store.

Made by the engine from what a handler raised, stored by `postgres/`. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suspension:
    """The end of an attempt that goes on in `delay` seconds, or as soon as `signal` comes.

    `signals_seen` is how many signals had been counted when the attempt looked for one: if more have been since, the
    job goes on at once.
    """

    delay: float
    signal: str | None = None
    signals_seen: int = 0
