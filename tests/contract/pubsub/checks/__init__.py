"""The checks, one file for each part of the protocol. Importing this fills the registry."""

from tests.contract.pubsub.checks import (
    deadlines,
    filters,
    ordering,
    publishing,
    pulling,
    redelivery,
    replay,
    resources,
    speed,
    streams,
)
from tests.contract.pubsub.checks.registry import CHECKS, Check

__all__ = [
    "CHECKS",
    "Check",
    "deadlines",
    "filters",
    "ordering",
    "publishing",
    "pulling",
    "redelivery",
    "replay",
    "resources",
    "speed",
    "streams",
]
