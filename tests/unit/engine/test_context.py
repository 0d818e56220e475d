"""What a handler can say and ask while it runs, in async and in plain handlers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from daemon.context import NOTE_LIMIT, JobContext
from daemon.engine.attempt import Attempt
from daemon.errors import ResultNotStorable
from daemon.job import Interrupted, Kind, Progress, Returned, StopReason
from tests.fakes.delivery import JOB, ORCHESTRATION, a_claim
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded, failure, run_attempt


async def test_an_async_handler_speaks_to_the_recorder() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        await ctx.progress(3, 6, "Creating image 3 of 6")
        ctx.progress(4)
        await ctx.note("Analysing your brand")
        await ctx.save({"page": 2})
        assert ctx.checkpoint == {"page": 2}

    assert await run_attempt(handler, recorder=recorder) == Returned("null")
    assert recorder.progressed == [Progress(3.0, 6.0, "Creating image 3 of 6"), Progress(4.0, None, None)]
    assert recorder.notes == ["Analysing your brand"]
    assert recorder.saved == ['{"page":2}']


async def test_a_plain_handler_speaks_to_the_recorder_and_waits_for_its_checkpoint() -> None:
    recorder = Recorded()

    def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.progress(1, 2)
        ctx.note("half way")
        ctx.save([1, 2])
        assert recorder.saved == ["[1,2]"]
        assert ctx.checkpoint == [1, 2]

    assert await run_attempt(handler, recorder=recorder) == Returned("null")
    assert recorder.notes == ["half way"]


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_checkpoint_of_a_lost_claim_ends_the_attempt(plain: bool) -> None:
    def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.save(1)

    async def async_handler(params: dict[str, object], ctx: JobContext) -> None:
        await ctx.save(1)

    result = await run_attempt(handler if plain else async_handler, recorder=Recorded(saves=False))
    assert result == Interrupted(StopReason.CLAIM_LOST)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_saving_is_a_stop_point_once_it_is_stored(plain: bool) -> None:
    recorder, attempt = Recorded(), Attempt(JOB)

    def handler(params: dict[str, object], ctx: JobContext) -> None:
        attempt.signal.set(StopReason.DRAINING)
        ctx.save("far")
        raise AssertionError("it went on")

    async def async_handler(params: dict[str, object], ctx: JobContext) -> None:
        attempt.signal.set(StopReason.DRAINING)
        await ctx.save("far")
        raise AssertionError("it went on")

    result = await run_attempt(handler if plain else async_handler, attempt=attempt, recorder=recorder)
    assert result == Interrupted(StopReason.DRAINING)
    assert recorder.saved == ['"far"']


async def test_a_checkpoint_that_cannot_be_stored_is_told_to_its_handler() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> str:
        with pytest.raises(ResultNotStorable):
            await ctx.save(float("nan"))
        return "told"

    assert await run_attempt(handler, recorder=recorder) == Returned('"told"')
    assert recorder.saved == []


async def test_a_checkpoint_is_read_back_as_deep_as_it_was_written() -> None:
    nested: object = "bottom"
    for _ in range(240):
        nested = [nested]

    async def handler(params: dict[str, object], ctx: JobContext) -> bool:
        await ctx.save(nested)
        return ctx.checkpoint == nested

    assert await run_attempt(handler) == Returned("true")


async def test_a_later_attempt_begins_with_the_checkpoint() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> object:
        return [ctx.checkpoint, ctx.attempt, ctx.failures]

    claim = a_claim(checkpoint='{"page":7}', attempt=4, failures=1)
    assert await run_attempt(handler, claim=claim) == Returned('[{"page":7},4,1]')


@pytest.mark.parametrize("number", [3, 3.0, Decimal("3"), Fraction(3), True + 2, "3"])
async def test_any_number_will_do_for_progress(number: float) -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.progress(number, number)

    assert await run_attempt(handler, recorder=recorder) == Returned("null")
    assert recorder.progressed == [Progress(3.0, 3.0, None)]
    assert all(type(one.current) is float for one in recorder.progressed)


@pytest.mark.parametrize("number", ["three", object(), [3], 10**400])
async def test_a_progress_that_is_no_number_fails_its_own_handler(number: float) -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.progress(number)

    failure(await run_attempt(handler, recorder=recorder), Kind.RAISED)
    assert recorder.progressed == []


async def test_a_progress_of_nan_says_nothing() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.progress(float("nan"), float("inf"))

    await run_attempt(handler, recorder=recorder)
    assert recorder.progressed == [Progress(None, None, None)]


async def test_notes_and_messages_are_made_storable() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.note("a\x00b\ud800" + "x" * 100_000)
        ctx.progress(1, message="\x00")

    await run_attempt(handler, recorder=recorder)
    assert "\x00" not in recorder.notes[0]
    recorder.notes[0].encode()
    assert len(recorder.notes[0]) < NOTE_LIMIT + 100
    assert recorder.progressed[0].message == "\N{REPLACEMENT CHARACTER}"


async def test_the_deadline_stands_still() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> bool:
        first = ctx.deadline
        begun = datetime.now(UTC)
        await until(lambda: datetime.now(UTC) - begun > timedelta(milliseconds=1))
        assert first is not None
        assert abs(first - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=5)
        return first == ctx.deadline

    assert await run_attempt(handler, claim=a_claim(deadline_in=60.0)) == Returned("true")


async def test_instances_share_the_items_and_the_ids_without_gap_or_overlap() -> None:
    items, given, ids = list(range(11)), [], []

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        given.extend(ctx.shard(items))
        ids.extend(ctx.global_id(local, stride=4) for local in range(4))
        with pytest.raises(ValueError, match=r"0\.\.3"):
            ctx.global_id(4, stride=4)

    for index in range(3):
        await run_attempt(handler, claim=a_claim(index=index, count=3))
    assert sorted(given) == items
    assert sorted(ids) == list(range(12))


async def test_a_handler_knows_its_index() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> object:
        known = [ctx.job_id, ctx.orchestration_id, ctx.job_name, ctx.index, ctx.count, ctx.idempotency_key]
        return [*known, dict(ctx.tags), ctx.should_stop, ctx.deadline]

    result = await run_attempt(handler, claim=a_claim(tags={"customer": "7"}))
    expected = f'["{JOB}","{ORCHESTRATION}","paint",0,1,"{JOB}",{{"customer":"7"}},false,null]'
    assert result == Returned(expected)
