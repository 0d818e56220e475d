"""`python -m daemon.local.pubsub --port 0`: the local Pub/Sub server as a process of its own.

Started by `demo`, `dev` and the tests. Prints one line, `pubsub listening on 127.0.0.1:PORT`, when it is ready, and
nothing else on stdout; SIGTERM and SIGINT end it with status 0. It must not outlive a parent that asked for that.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import signal
import sys

from daemon.local.pubsub.faults import Faults, Hostility
from daemon.local.pubsub.server import Server

PR_SET_PDEATHSIG = 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m daemon.local.pubsub", description="A local Pub/Sub server.")
    parser.add_argument("--port", type=int, default=8085, help="TCP port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--with-parent", type=int, metavar="PID", help="end with this process, which started this one")
    parser.add_argument("--hostile", type=int, metavar="SEED", help="duplicate, reorder and redeliver, by this seed")
    parser.add_argument(
        "--wait-for-receipts",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="the ack timer of a streamed message starts with its receipt, or so much later (600 as the service)",
    )
    return parser.parse_args()


async def follow_parent(parent: int, stop: asyncio.Event) -> None:
    """End with the parent: by the kernel's word on Linux (of the thread that started us), else by looking.

    `parent` is its process id as the parent knows it: who asks only now may be given that of its heir.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0.5)
    stop.set()


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hostility = None if options.hostile is None else Hostility(seed=options.hostile)
    server = Server(Faults(hostility=hostility, receipt_seconds=options.wait_for_receipts))
    port = await server.start(options.port)
    watch = asyncio.create_task(follow_parent(options.with_parent, stop)) if options.with_parent else None
    gc.freeze()  # the imports are for good: collections need not look at them again,
    gc.set_threshold(50_000, 20, 50)  # nor at a whole backlog for each few hundred messages
    sys.stdout.write(f"pubsub listening on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await stop.wait()
    if watch is not None:
        watch.cancel()
    await server.stop()


def main() -> int:
    try:
        asyncio.run(serve(arguments()))
    except RuntimeError as error:  # the port is taken
        sys.stderr.write(f"pubsub: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
