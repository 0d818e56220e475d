"""Connections that hang up on a server that says nothing.

Made by `database` for workers. TCP notices a connection whose other end is gone; it can't notice one that a proxy or a
stalled machine keeps open and never answers on, and everything that waits for it would wait forever. The timeout of a
group commit does not replace this one: what it cancels, the driver cancels in turn, and waits for the server to say so.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import Any

import psycopg


class TimeoutConnection(psycopg.Connection[Any]):
    """For a thread without an event loop: the heartbeat, which must be answered before it is missed."""

    answer_timeout = 5.0
    hung_up_at: float | None = None  # by the monotonic clock

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """One exchange with the server; OperationalError when it takes longer than `answer_timeout` seconds."""
        timer = threading.Timer(self.answer_timeout, self._hang_up, [self.pgconn.socket])
        timer.daemon = True
        timer.start()
        try:
            return super().wait(gen, *args, **kwargs)
        finally:
            timer.cancel()

    def _hang_up(self, descriptor: int) -> None:
        self.hung_up_at = time.monotonic()
        hang_up(descriptor)


class AsyncTimeoutConnection(psycopg.AsyncConnection[Any]):
    """For an event loop: everything else that a worker asks."""

    answer_timeout = 20.0

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """One exchange with the server; OperationalError when it takes longer than `answer_timeout` seconds."""
        timer = asyncio.get_running_loop().call_later(self.answer_timeout, hang_up, self.pgconn.socket)
        try:
            return await super().wait(gen, *args, **kwargs)
        finally:
            timer.cancel()


def hang_up(descriptor: int) -> None:
    """End a connection under whoever waits for it: that one reads an end and raises."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
