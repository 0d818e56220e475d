"""How young a history may be deleted: while Pub/Sub may still deliver one of its messages, it must be kept.

Called by the commands that delete or replay old things. A late message of a deleted job would run it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.settings import Settings

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class AgeLimit:
    """The least age in seconds, and where it comes from in words."""

    seconds: float
    why: str


async def age_limit(settings: Settings) -> AgeLimit:
    """What both subscriptions keep, and a day. Raises SubscriptionNotReady when one can't be looked at."""
    from daemon.pubsub.puller import Puller

    puller = Puller()
    names = (settings.jobs_subscription, settings.dead_letter_subscription)
    try:
        kept = [await puller.retention(settings.subscription(name)) for name in names]
    finally:
        await puller.close()
    parts = (f"{name} keeps messages for {days(seconds)}" for name, seconds in zip(names, kept, strict=True))
    return AgeLimit(sum(kept) + DAY, f"the subscription {' and '.join(parts)}, and a day is added")


def days(seconds: float) -> str:
    """A duration in days, as a person reads it."""
    return f"{seconds / DAY:.4g} days"
