"""`headcount asyncapi`: the contract of job messages and events, for producers and readers in other languages.

Called by whoever generates a client or checks messages. It needs no setting, no server and no account.
"""

from __future__ import annotations

from daemon.cli.output import echo_json


def asyncapi() -> None:
    """Print the contract of messages and events as an AsyncAPI 3 document with JSON Schemas."""
    from importlib.metadata import version

    from daemon.rules import contract

    echo_json(contract.asyncapi(version("headcount")))
