"""A deploy that changes the steps of a handler while its jobs are under way."""

from __future__ import annotations

import pytest

from daemon.job import Kind, Returned
from daemon.recorder import RecordedStep
from tests.unit.engine.attempts import Steps, failure
from tests.unit.engine.test_steps import PLAIN, counting, run

RECORDED = (RecordedStep("charge", 1, '"paid"'), RecordedStep("ship", 2, '"sent"'))
CHANGES = {
    "renamed": (("bill", "ship"), "step 'bill' is number 1, where 'charge' is recorded"),
    "moved": (("ship", "charge"), "step 'ship' is number 1, and was recorded as 2"),
    "inserted": (("greet", "charge", "ship"), "step 'greet' is number 1, where 'charge' is recorded"),
    "removed at the end": (("charge",), "ended without step 'ship'"),
    "all removed": ((), "ended without step"),
}
EACH = pytest.mark.parametrize(("names", "words"), CHANGES.values(), ids=list(CHANGES))


@PLAIN
async def test_steps_appended_after_the_recorded_ones_run(plain: bool) -> None:
    calls: list[str] = []
    result = await run(counting(calls, plain, "charge", "ship", "thank"), Steps(*RECORDED), 2)
    assert result == Returned('["paid","sent","thank"]')
    assert calls == ["thank"]


@PLAIN
@EACH
async def test_changed_steps_fail_the_job_before_anything_new_runs(
    plain: bool, names: tuple[str, ...], words: str
) -> None:
    calls: list[str] = []
    result = await run(counting(calls, plain, *names), Steps(*RECORDED), 2)
    assert words in failure(result, Kind.STEPS_CHANGED).message
    assert getattr(result, "final", False)
    assert calls == []


@EACH
async def test_changed_steps_are_ignored_when_the_handler_says_so(names: tuple[str, ...], words: str) -> None:
    calls: list[str] = []
    assert isinstance(await run(counting(calls, False, *names), Steps(*RECORDED), 2, steps_changed="ignore"), Returned)
    assert calls == [name for name in names if name not in ("charge", "ship")]


@PLAIN
@EACH
async def test_changed_steps_begin_anew_when_the_handler_says_so(
    plain: bool, names: tuple[str, ...], words: str
) -> None:
    calls: list[str] = []
    store = Steps(*RECORDED)
    assert isinstance(await run(counting(calls, plain, *names), store, 2, steps_changed="restart"), Returned)
    assert calls == list(names)
    assert list(store.kept) == list(names)


async def test_steps_with_committed_effects_do_not_begin_anew() -> None:
    store = Steps(RECORDED[0], RecordedStep("ship", 2, "1", in_transaction=True))
    result = await run(counting([], False, "bill", "ship"), store, 2, steps_changed="restart")
    assert "the effects of step 'ship' are committed" in failure(result, Kind.STEPS_CHANGED).message
    assert len(store.kept) == 2


async def test_a_handler_that_fails_is_not_told_about_steps_it_has_not_come_to() -> None:
    async def handler(params: dict[str, object]) -> None:
        raise OSError("gone")

    failure(await run(handler, Steps(*RECORDED), 2), Kind.RAISED)
