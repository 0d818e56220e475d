"""What `demo` and `dev` do before a worker can start: schema, topics, and where the handlers are.

Called by those two only. Both use the very functions of `headcount migrate` and `headcount provision`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping


def prepare(environment: Mapping[str, str]) -> list[str]:
    """Point this process at a local stack, bring its database to the schema, create what Pub/Sub lacks.

    The migrations that were applied.
    """
    from daemon.postgres.migrations import upgrade
    from daemon.pubsub.resources import provision, wanted
    from daemon.settings import load

    os.environ.update(environment)
    settings = load()
    applied = upgrade(settings.database_url.get_secret_value())
    asyncio.run(provision(wanted(settings)))
    return applied


def end_like_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal stop everything in order, as Ctrl-C does.

    Ctrl-C itself is switched on too: a shell that starts a command in the background switches it off for it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` means it
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
