"""What handlers say is bounded per job, waits for the database, and is dropped for nobody's sake."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest

from daemon.context import JobContext, StopSignal
from daemon.errors import Stopped, TooManyNotes
from daemon.job import Claim, StopReason
from daemon.local.postgres import EmbeddedPostgres
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.migrations import upgrade
from daemon.postgres.records import NOTE_BYTES_LIMIT, NOTES_LIMIT, Records
from tests.harness.waiting import until
from tests.postgres.scene import Scene, message_for, messages_for, writing

LONG = "x" * 4_000


def context_of(claim: Claim, records: Records, stop: StopSignal | None = None) -> JobContext:
    """What the handler of a claim gets."""
    return JobContext(claim, records, stop or StopSignal(), asyncio.get_running_loop(), threading.get_ident())


def say_often(ctx: JobContext, text: str, times: int) -> None:
    """A handler that awaits nothing."""
    for _ in range(times):
        ctx.note(text)


async def notes_of(scene: Scene, claim: Claim) -> list[str]:
    rows = await scene.run("SELECT text FROM progress_note WHERE job_id = :id ORDER BY id", id=claim.job_id)
    return [row["text"] for row in rows]


async def test_a_job_over_its_bound_is_told_so_and_what_it_said_is_stored(scene: Scene) -> None:
    worker, records = await scene.worker(), Records(scene.engine, Observer())
    loud, long, quiet = [await worker.claim(message) for message in messages_for(uuid4(), 3)]
    records.note(quiet, "said before the others")
    said = [f"note {number}" for number in range(NOTES_LIMIT)]
    async with writing(records):
        for text in said:
            await context_of(loud, records).note(text)
        with pytest.raises(TooManyNotes, match="1000 notes"):
            context_of(loud, records).note("one too many")
        with pytest.raises(TooManyNotes):
            say_often(context_of(long, records), LONG, NOTES_LIMIT)
        await records.flush()
        assert records.note(loud, "room again") is False
        await records.flush()
    assert await notes_of(scene, loud) == [*said, "room again"]
    assert len(await notes_of(scene, long)) == -(-NOTE_BYTES_LIMIT // len(LONG))
    assert await notes_of(scene, quiet) == ["said before the others"]


async def test_a_job_that_says_much_but_in_its_time_is_not_refused(scene: Scene) -> None:
    """Its thread is faster than the flush, which is asked for as soon as half of the bound is used."""
    records = Records(scene.engine, Observer())
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    async with writing(records):
        for number in range(3 * NOTES_LIMIT):
            await context_of(claim, records).note(str(number))
            if number % 100 == 0:
                await asyncio.sleep(0.005)
        await records.last_words(claim)
    assert await notes_of(scene, claim) == [str(number) for number in range(3 * NOTES_LIMIT)]


@pytest.mark.parametrize("plain", [False, True])
async def test_notes_wait_for_a_database_that_is_away_and_a_stop_goes_through(
    own_postgres: EmbeddedPostgres, plain: bool
) -> None:
    url = own_postgres.url(tcp_port=own_postgres.tcp_port)
    upgrade(url)
    engine = async_engine(url, 5)
    scene, records = Scene(engine, url), Records(engine, Observer())
    worker = await scene.worker()
    first, stopped = [await worker.claim(message) for message in messages_for(uuid4(), 2)]
    said = [f"note {number}" for number in range(NOTES_LIMIT + 50)]

    async def say(ctx: JobContext) -> None:
        for text in said:
            await ctx.note(text)

    def say_in_a_thread(ctx: JobContext) -> None:
        for text in said:
            ctx.note(text)

    async with writing(records):
        await asyncio.to_thread(own_postgres.crash)
        records.note(first, "the first")
        lost = asyncio.create_task(records.flush())
        await until(lambda: records.away, what="the records notice the outage")
        signal = StopSignal()
        contexts = context_of(first, records), context_of(stopped, records, signal)
        telling = [
            asyncio.create_task(asyncio.to_thread(say_in_a_thread, one) if plain else say(one)) for one in contexts
        ]
        await until(lambda: not records.has_room(first) and not records.has_room(stopped))
        signal.set(StopReason.DRAINING)
        with pytest.raises(Stopped):
            await telling[1]
        assert not telling[0].done()
        await asyncio.to_thread(own_postgres.start)
        flushing = asyncio.create_task(records.flush())
        async with asyncio.timeout(20):
            await asyncio.gather(lost, flushing)
            await telling[0]
            await records.last_words(first)
    assert await notes_of(scene, first) == ["the first", *said]
    await engine.dispose()


async def test_who_does_not_await_its_notes_is_told_before_it_fills_the_memory(scene: Scene) -> None:
    records = Records(scene.engine, Observer())
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    await scene.run("ALTER TABLE progress_note RENAME TO gone")
    try:
        async with writing(records):
            records.note(claim, "0")
            flushing = asyncio.create_task(records.flush())
            await until(lambda: records.away)
            ctx = context_of(claim, records)
            with pytest.raises(TooManyNotes):
                say_often(ctx, "not awaited", 3 * NOTES_LIMIT)
            await scene.run("ALTER TABLE gone RENAME TO progress_note")
            await flushing
            await records.last_words(claim)
        assert len(await notes_of(scene, claim)) == 2 * NOTES_LIMIT
    finally:
        await scene.run("ALTER TABLE IF EXISTS gone RENAME TO progress_note")
