"""The faults that tests switch on: what the server does wrong on purpose, and nothing while all is switched off.

Read by subscriptions and services, written by the fault service only. One `Faults` belongs to one server. Chance comes
from a seed, so that a bad run can be run again. It must not act by itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Hostility:
    """What at-least-once delivery allows a server to do, with how much probability for each message."""

    seed: int = 0
    duplicate: float = 0.05  # handed out twice
    reorder: float = 0.2  # another one first
    late: float = 0.03  # handed out again some time later, on another stream where there is one
    late_seconds: float = 3.0  # at most so much later
    chance: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability


@dataclass(slots=True)
class Faults:
    """All off by default."""

    away: bool = False  # every call of Publisher, Subscriber and IAMPolicy answers UNAVAILABLE
    paused: set[str] = field(default_factory=set)  # subscriptions that hand out nothing; "" is all of them
    ack_delay: float = 0.0  # seconds before an ack takes effect and is answered
    acks_to_lose: int = 0  # answered OK and forgotten
    ack_loss: float = 0.0  # the same, with this probability
    receipt_seconds: float = 0.0  # until the ack timer starts of what a stream was given and sent no receipt for
    denied: set[tuple[str, str]] = field(default_factory=set)  # (permission, resource); "" is every resource
    hostility: Hostility | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(0), repr=False)

    def is_paused(self, subscription: str) -> bool:
        return bool(self.paused) and ("" in self.paused or subscription in self.paused)

    def is_denied(self, permission: str, resource: str) -> bool:
        return bool(self.denied) and ((permission, "") in self.denied or (permission, resource) in self.denied)

    def loses_ack(self) -> bool:
        if self.acks_to_lose > 0:
            self.acks_to_lose -= 1
            return True
        return self.ack_loss > 0 and self.chance.random() < self.ack_loss
