"""The host of due-work-harness: how it kills a worker of Headcount after a commit, loses a reply, or refuses a publish.

Configured by the tests of this folder. It reaches under the daemon, into the driver and into Google's client, so that
nothing of the daemon knows of it: every commit that the driver makes on an event loop is counted, those of the pipeline
in `postgres/pipeline.py` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import psycopg
from due_work_harness import Host
from due_work_harness.worker_death import CommitWorker, LostCommitReplies
from google.api_core.exceptions import PermissionDenied
from google.pubsub_v1 import PublisherAsyncClient
from psycopg.pq import TransactionStatus

from daemon.postgres.timeout_connection import hang_up

Connection = psycopg.AsyncConnection[Any]


class KilledWorker(CommitWorker):
    """Dead after its n-th commit: the server sees the end of each of its connections, and nothing is sent any more."""

    def __init__(self, kill_after: int | None) -> None:
        super().__init__(kill_after)
        self.connections: WeakSet[Connection] = WeakSet()

    def kill_now(self, reason: str) -> None:
        for connection in list(self.connections):
            if not connection.closed:
                hang_up(connection.pgconn.socket)
        super().kill_now(reason)


@contextmanager
def worker_killer(kill_after: int | None) -> Iterator[KilledWorker]:
    """Count the commits; with `kill_after`, the worker dies as soon as that one is answered."""
    worker = KilledWorker(kill_after)

    def before(connection: Connection) -> None:
        worker.refuse_if_dead()
        worker.connections.add(connection)

    with _watched(before, lambda _connection: worker.committed()):
        yield worker


@contextmanager
def reply_breaker(lose_at: int | None) -> Iterator[LostCommitReplies]:
    """Count the commits; the reply to number `lose_at` is lost with its connection, after it has taken effect."""
    lost = LostCommitReplies(lose_at, lambda k: psycopg.OperationalError(f"the reply to commit {k} was lost"))

    def after(connection: Connection) -> None:
        if lost.count + 1 == lose_at:
            connection.pgconn.finish()
        lost.committed()

    with _watched(lambda _connection: None, after):
        yield lost


class RefusedPublications:
    """How many requests to publish there were, and what the chosen one was refused with."""

    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None


@contextmanager
def publication_breaker(refuse_at: int | None) -> Iterator[RefusedPublications]:
    """Count the requests of Google's publisher; Pub/Sub refuses number `refuse_at`."""
    refused, publish = RefusedPublications(), PublisherAsyncClient.publish

    async def counted(self: PublisherAsyncClient, *args: Any, **options: Any) -> Any:
        refused.count += 1
        if refused.count == refuse_at:
            refused.failure = PermissionDenied(f"publication {refuse_at} was refused")
            raise refused.failure
        return await publish(self, *args, **options)

    with _replaced(PublisherAsyncClient, "publish", counted):
        yield refused


@contextmanager
def _watched(before: Callable[[Connection], None], committed: Callable[[Connection], None]) -> Iterator[None]:
    """Call `before` ahead of every exchange with the server, and `committed` after each that committed something."""
    wait, commit, execute = psycopg.AsyncConnection.wait, psycopg.AsyncConnection.commit, psycopg.AsyncCursor.execute

    async def watched_wait(self: Connection, generator: Any, *args: Any, **options: Any) -> Any:
        before(self)
        answer = await wait(self, generator, *args, **options)
        if _holds_commit(answer):  # a whole transaction in one packet
            committed(self)
        return answer

    async def watched_commit(self: Connection) -> None:
        is_open = self.pgconn.transaction_status == TransactionStatus.INTRANS
        await commit(self)
        if is_open:
            committed(self)

    async def watched_execute(self: Any, *args: Any, **options: Any) -> Any:
        cursor = await execute(self, *args, **options)
        if self.connection.autocommit and _writes(str(args[0])):  # a statement that commits by itself
            committed(self.connection)
        return cursor

    with (
        _replaced(psycopg.AsyncConnection, "wait", watched_wait),
        _replaced(psycopg.AsyncConnection, "commit", watched_commit),
        _replaced(psycopg.AsyncCursor, "execute", watched_execute),
    ):
        yield


def _writes(statement: str) -> bool:
    return any(word in statement for word in ("INSERT INTO", "UPDATE ", "DELETE FROM"))


def _holds_commit(answer: object) -> bool:
    return isinstance(answer, list) and any(getattr(one, "command_status", None) == b"COMMIT" for one in answer)


@contextmanager
def _replaced(owner: type, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


HEADCOUNT = Host(
    production_packages=frozenset({"daemon"}),
    worker_killer=worker_killer,
    reply_breaker=reply_breaker,
    publication_breaker=publication_breaker,
)
