"""What handlers say is bounded per job, waits for the database, and is dropped for nobody's sake."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest

from daemon.context import JobContext
from daemon.errors import Stopped, TooManyNotes
from daemon.job import Claim, StopReason
from daemon.local.postgres import EmbeddedPostgres
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.migrations import upgrade
from daemon.postgres.progress import NOTE_BYTES_LIMIT, NOTES_LIMIT, ProgressBuffer
from daemon.stop_signal import StopSignal
from tests.harness.waiting import until
from tests.postgres.scene import Scene, message_for, messages_for, writing

LONG = "x" * 4_000


def context_of(claim: Claim, buffer: ProgressBuffer, stop: StopSignal | None = None) -> JobContext:
    """What the handler of a claim gets."""
    return JobContext(claim, buffer, stop or StopSignal(), asyncio.get_running_loop(), threading.get_ident())


def say_often(ctx: JobContext, text: str, times: int) -> None:
    """A handler that awaits nothing."""
    for _ in range(times):
        ctx.note(text)


async def notes_of(scene: Scene, claim: Claim) -> list[str]:
    rows = await scene.run("SELECT text FROM progress_note WHERE job_id = :id ORDER BY id", id=claim.job_id)
    return [row["text"] for row in rows]


async def test_a_job_over_its_bound_is_told_so_and_what_it_said_is_stored(scene: Scene) -> None:
    worker, buffer = await scene.worker(), ProgressBuffer(scene.engine, Observer())
    loud, long, quiet = [await worker.claim(message) for message in messages_for(uuid4(), 3)]
    buffer.note(quiet, "said before the others")
    said = [f"note {number}" for number in range(NOTES_LIMIT)]
    async with writing(buffer):
        for text in said:
            await context_of(loud, buffer).note(text)
        with pytest.raises(TooManyNotes, match="1000 notes"):
            context_of(loud, buffer).note("one too many")
        with pytest.raises(TooManyNotes):
            say_often(context_of(long, buffer), LONG, NOTES_LIMIT)
        await buffer.flush()
        assert buffer.note(loud, "room again") is False
        await buffer.flush()
    assert await notes_of(scene, loud) == [*said, "room again"]
    assert len(await notes_of(scene, long)) == -(-NOTE_BYTES_LIMIT // len(LONG))
    assert await notes_of(scene, quiet) == ["said before the others"]


async def test_a_job_that_says_much_but_in_its_time_is_not_refused(scene: Scene) -> None:
    """Its thread is faster than the flush, which is asked for as soon as half of the bound is used."""
    buffer = ProgressBuffer(scene.engine, Observer())
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    async with writing(buffer):
        for number in range(3 * NOTES_LIMIT):
            await context_of(claim, buffer).note(str(number))
            if number % 100 == 0:
                await asyncio.sleep(0.005)
        await buffer.flush_for(claim)
    assert await notes_of(scene, claim) == [str(number) for number in range(3 * NOTES_LIMIT)]


@pytest.mark.parametrize("plain", [False, True])
async def test_notes_wait_for_a_database_that_is_away_and_a_stop_goes_through(
    own_postgres: EmbeddedPostgres, plain: bool
) -> None:
    url = own_postgres.url(tcp_port=own_postgres.tcp_port)
    upgrade(url)
    engine = async_engine(url, 5)
    scene, buffer = Scene(engine, url), ProgressBuffer(engine, Observer())
    worker = await scene.worker()
    first, stopped = [await worker.claim(message) for message in messages_for(uuid4(), 2)]
    said = [f"note {number}" for number in range(NOTES_LIMIT + 50)]

    async def say(ctx: JobContext) -> None:
        for text in said:
            await ctx.note(text)

    def say_in_a_thread(ctx: JobContext) -> None:
        for text in said:
            ctx.note(text)

    async with writing(buffer):
        await asyncio.to_thread(own_postgres.crash)
        buffer.note(first, "the first")
        lost = asyncio.create_task(buffer.flush())
        await until(lambda: buffer.unavailable, what="the buffer notice the outage")
        signal = StopSignal()
        contexts = context_of(first, buffer), context_of(stopped, buffer, signal)
        telling = [
            asyncio.create_task(asyncio.to_thread(say_in_a_thread, one) if plain else say(one)) for one in contexts
        ]
        await until(lambda: not buffer.has_room(first) and not buffer.has_room(stopped))
        signal.set(StopReason.DRAINING)
        with pytest.raises(Stopped):
            await telling[1]
        assert not telling[0].done()
        await asyncio.to_thread(own_postgres.start)
        flushing = asyncio.create_task(buffer.flush())
        async with asyncio.timeout(20):
            await asyncio.gather(lost, flushing)
            await telling[0]
            await buffer.flush_for(first)
    assert await notes_of(scene, first) == ["the first", *said]
    await engine.dispose()


async def test_who_does_not_await_its_notes_is_told_before_it_fills_the_memory(scene: Scene) -> None:
    buffer = ProgressBuffer(scene.engine, Observer())
    claim = await (await scene.worker()).claim(message_for(uuid4()))
    await scene.run("ALTER TABLE progress_note RENAME TO gone")
    try:
        async with writing(buffer):
            buffer.note(claim, "0")
            flushing = asyncio.create_task(buffer.flush())
            await until(lambda: buffer.unavailable)
            ctx = context_of(claim, buffer)
            with pytest.raises(TooManyNotes):
                say_often(ctx, "not awaited", 3 * NOTES_LIMIT)
            await scene.run("ALTER TABLE gone RENAME TO progress_note")
            await flushing
            await buffer.flush_for(claim)
        assert len(await notes_of(scene, claim)) == 2 * NOTES_LIMIT
    finally:
        await scene.run("ALTER TABLE IF EXISTS gone RENAME TO progress_note")
