"""Group commit by itself: how batches grow, what is split, what is repeated, and when the database counts as away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from daemon.errors import WorkerNotFresh
from daemon.observe import Observer
from daemon.postgres import group_commit
from daemon.postgres.group_commit import GroupCommit

Write = Callable[[list[str]], Awaitable[list[str]]]


def from_postgres(error: psycopg.Error) -> DBAPIError:
    """An error of the server as SQLAlchemy hands it over."""
    return DBAPIError("statement", {}, error)


@dataclass
class Heard(Observer):
    """What the lane reported."""

    sizes: list[int] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    refused: list[BaseException] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    away: list[bool] = field(default_factory=list)

    def batch_committed(self, operation: str, size: int, seconds: float) -> None:
        self.sizes.append(size)

    def batch_split(self, operation: str, size: int) -> None:
        self.splits.append(size)

    def item_rejected(self, operation: str, error: BaseException) -> None:
        self.refused.append(error)

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        self.pauses.append(pause)


@asynccontextmanager
async def lane(write: Write, size_of: Callable[[str], int] | None = None) -> AsyncIterator[tuple[GroupCommit, Heard]]:
    heard = Heard()
    group: GroupCommit[str, str] = GroupCommit("test", write, heard, size_of=size_of, on_unavailable=heard.away.append)
    running = asyncio.create_task(group.run())
    yield group, heard
    running.cancel()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(group_commit, "LONGEST_PAUSE", 0.004)


def failing(*failures: BaseException) -> Write:
    """A write that fails in these ways first and echoes in capitals then."""
    left = list(failures)

    async def write(items: list[str]) -> list[str]:
        if left:
            raise left.pop(0)
        return [item.upper() for item in items]

    return write


def refusing(bad: str, error: Exception) -> Write:
    async def write(items: list[str]) -> list[str]:
        if bad in items:
            raise error
        return [item.upper() for item in items]

    return write


async def test_at_low_load_every_batch_is_one() -> None:
    async with lane(failing()) as (group, heard):
        for item in "abc":
            assert await group.submit(item) == item.upper()
    assert heard.sizes == [1, 1, 1]


async def test_what_arrives_during_a_write_is_the_next_batch() -> None:
    writing, go_on = asyncio.Event(), asyncio.Event()

    async def write(items: list[str]) -> list[str]:
        writing.set()
        await go_on.wait()
        return items

    async with lane(write) as (group, heard):
        first = asyncio.ensure_future(group.submit("0"))
        await writing.wait()
        rest = [asyncio.ensure_future(group.submit(str(n))) for n in range(1, 1201)]
        await asyncio.sleep(0)
        assert group.waiting == 1200
        go_on.set()
        assert await asyncio.gather(first, *rest) == [str(n) for n in range(1201)]
    assert heard.sizes == [1, 500, 500, 200]


async def test_sizes_bound_the_bytes_of_a_batch() -> None:
    mebibytes = 1024 * 1024
    async with lane(failing(), size_of=lambda item: int(item) * mebibytes) as (group, heard):
        await asyncio.gather(*[group.submit(size) for size in ("10", "10", "10", "10", "1", "30", "1")])
    assert heard.sizes == [2, 2, 2, 1]  # a batch is closed by the item that fills 16 MiB: 20, 20, 31, 1


@pytest.mark.parametrize(
    "error",
    [
        from_postgres(errors.CharacterNotInRepertoire()),  # 22021: a NUL
        from_postgres(errors.UniqueViolation()),  # 23505
        from_postgres(errors.StatementTooComplex()),  # 54001: nested too deeply
        from_postgres(psycopg.DataError("cannot dump")),  # refused by the driver, before the server saw it
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
async def test_a_bad_item_fails_alone_and_at_once(error: Exception) -> None:
    items = [str(n) for n in range(64)]
    async with lane(refusing("41", error)) as (group, heard):
        answers = await asyncio.gather(*[group.submit(item) for item in items], return_exceptions=True)
        assert not group.unavailable
    assert [n for n, answer in enumerate(answers) if answer is error] == [41]
    assert [answer for answer in answers if answer is not error] == [item for item in items if item != "41"]
    assert heard.refused == [error]
    assert heard.splits == [64, 32, 16, 8, 4, 2]
    assert heard.pauses == []


@pytest.mark.parametrize(
    "error",
    [
        from_postgres(errors.DeadlockDetected()),
        from_postgres(errors.SerializationFailure()),
        from_postgres(errors.AdminShutdown()),
        from_postgres(errors.CannotConnectNow()),
        from_postgres(errors.TooManyConnections()),
        from_postgres(errors.LockNotAvailable()),
        from_postgres(errors.DiskFull()),
        from_postgres(psycopg.OperationalError("server closed the connection unexpectedly")),
        from_postgres(psycopg.InterfaceError("the connection is closed")),
        ConnectionResetError(),
        TimeoutError(),
        WorkerNotFresh(),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
async def test_what_passes_by_itself_repeats_the_whole_batch_and_never_splits_it(error: Exception) -> None:
    async with lane(failing(*[error] * 12)) as (group, heard):
        answers = await asyncio.gather(*[group.submit(item) for item in "abcdef"])
    assert answers == list("ABCDEF")
    assert (heard.sizes, heard.splits, heard.refused) == ([6], [], [])
    assert len(heard.pauses) == 12
    assert heard.away == [True, False]


async def test_pauses_grow_up_to_a_limit() -> None:
    async with lane(failing(*[TimeoutError()] * 5)) as (group, heard):
        await group.submit("a")
    assert heard.pauses == [0.001, 0.002, 0.004, 0.004, 0.004]


@pytest.mark.parametrize(
    "error",
    [
        from_postgres(errors.UndefinedTable()),
        from_postgres(errors.InsufficientPrivilege()),
        from_postgres(errors.FeatureNotSupported()),
        from_postgres(errors.RaiseException()),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
async def test_what_somebody_must_put_right_is_waited_for_like_an_outage(error: Exception) -> None:
    async with lane(failing(*[error] * 40)) as (group, heard):
        answers = await asyncio.gather(*[group.submit(item) for item in "abc"])
    assert answers == list("ABC")
    assert (heard.sizes, heard.splits, heard.refused, len(heard.pauses)) == ([3], [], [], 40)
    assert heard.away == [True, False]


async def test_an_item_that_only_our_own_code_fails_on_waits_behind_the_others_and_is_kept() -> None:
    """Else it would stop its lane, and the intake would stay closed for it."""
    bad = {"bad": True}

    async def write(items: list[str]) -> list[str]:
        if "bad" in items and bad["bad"]:
            raise KeyError
        return [item.upper() for item in items]

    async with lane(write) as (group, heard):
        kept = group.submit("bad")
        assert await asyncio.gather(*[group.submit(item) for item in "abc"]) == list("ABC")
        assert not group.unavailable
        bad["bad"] = False
        assert await kept == "BAD"
    assert heard.away[-1] is False
    assert [type(error) for error in heard.refused] == [KeyError] * len(heard.refused)


async def test_a_bad_item_after_an_outage_says_that_the_database_is_back() -> None:
    error = from_postgres(errors.UniqueViolation())
    async with lane(failing(TimeoutError(), error)) as (group, heard):
        with pytest.raises(DBAPIError):
            await group.submit("a")
    assert heard.away == [True, False]


async def test_a_write_that_hangs_is_given_up_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WRITE_TIMEOUT", 0.02)
    hung: list[str] = []

    async def write(items: list[str]) -> list[str]:
        if not hung:
            hung.extend(items)
            await asyncio.Event().wait()
        return [item.upper() for item in items]

    async with lane(write) as (group, heard):
        assert await group.submit("a") == "A"
    assert hung == ["a"]
    assert heard.away == [True, False]


async def test_a_caller_that_went_away_harms_nobody_of_its_batch() -> None:
    go_on = asyncio.Event()

    async def write(items: list[str]) -> list[str]:
        await go_on.wait()
        return items

    async with lane(write) as (group, _):
        gone, other = asyncio.ensure_future(group.submit("a")), asyncio.ensure_future(group.submit("b"))
        await asyncio.sleep(0)
        gone.cancel()
        go_on.set()
        assert await other == "b"
    assert gone.cancelled()
