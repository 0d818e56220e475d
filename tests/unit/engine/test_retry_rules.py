"""Which exceptions of a handler end its job, and how long all of its attempts may take together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.errors import GiveUp, RetryLater
from daemon.job import Action, Failed, JobError, Kind, Result
from daemon.rules.lifecycle import RetryPolicy, admit, settle
from daemon.rules.retry import Backoff
from tests.fakes.delivery import CLAIM
from tests.unit.engine.attempts import failure, run_attempt

BOOM = Failed(JobError(Kind.RAISED, "boom"))
FIVE_SECONDS_LATER = Backoff(initial=5, jitter=False)


async def raised(error: BaseException, **terms: object) -> Failed:
    """What an attempt gives whose handler raises this."""

    async def handler(params: dict[str, object]) -> None:
        raise error

    result = await run_attempt(handler, **terms)  # type: ignore[arg-type]
    assert isinstance(result, Failed)
    return result


@pytest.mark.parametrize(
    ("error", "terms", "why"),
    [
        (ValueError("a"), {}, None),
        (ValueError("a"), {"give_up_on": ValueError}, "ValueError is in give_up_on"),
        (
            UnicodeDecodeError("utf-8", b"", 0, 1, "a"),
            {"give_up_on": ValueError},
            "UnicodeDecodeError is in give_up_on",
        ),
        (KeyError("a"), {"give_up_on": (ValueError, OSError)}, None),
        (ValueError("a"), {"retry_on": OSError}, "ValueError is not in retry_on"),
        (TimeoutError("a"), {"retry_on": OSError}, None),
        (
            ConnectionError("a"),
            {"retry_on": OSError, "give_up_on": ConnectionError},
            "ConnectionError is in give_up_on",
        ),
        (ExceptionGroup("a", [OSError(), ExceptionGroup("b", [KeyError()])]), {"retry_on": OSError}, "KeyError is not"),
        (ExceptionGroup("a", [OSError(), TimeoutError()]), {"retry_on": OSError}, None),
        (ExceptionGroup("a", [OSError(), KeyError()]), {"give_up_on": LookupError}, "KeyError is in give_up_on"),
        (OSError("a"), {"retry_on": ()}, "OSError is not in retry_on"),
    ],
)
async def test_an_exception_ends_the_job_by_its_type_and_the_error_says_why(
    error: BaseException, terms: dict[str, object], why: str | None
) -> None:
    result = await raised(error, **terms)
    assert failure(result, Kind.RAISED).message.startswith(type(error).__name__)
    assert result.final == (why is not None)
    assert f"(not retried: {why or ''}" in result.error.message or why is None


async def test_what_a_handler_asks_for_wins_over_the_types() -> None:
    later = await raised(RetryLater(after=timedelta(minutes=1)), retry_on=OSError)
    assert (later.final, later.retry_in, later.error.kind) == (False, 60.0, Kind.RETRY_LATER)
    assert (await raised(GiveUp("no"), retry_on=GiveUp)).error.kind is Kind.GAVE_UP


@pytest.mark.parametrize("timeout", [None, 30])
async def test_a_running_attempt_ends_with_the_overall_timeout(timeout: float | None) -> None:
    async def handler(params: dict[str, object]) -> None:
        await asyncio.Event().wait()

    claim = replace(CLAIM, attempt=3, since_first_start=59.98)
    result = await run_attempt(handler, claim=claim, timeout=timeout, overall_timeout=timedelta(minutes=1))
    failure(result, Kind.TIMED_OUT)
    settlement = settle(claim, result, RetryPolicy(9, overall_timeout=60), 300, lambda: 0.5, elapsed=0.02)
    assert settlement.action is Action.FAIL
    assert settlement.error is not None
    assert settlement.error.message.endswith("(not retried: the overall timeout is 60 s)")


async def test_the_timeout_of_an_attempt_still_counts_under_an_overall_timeout() -> None:
    async def handler(params: dict[str, object]) -> None:
        await asyncio.Event().wait()

    result = await run_attempt(handler, timeout=0.01, overall_timeout=60)
    assert "0.01 s" in failure(result, Kind.TIMED_OUT).message


@pytest.mark.parametrize(
    ("since", "elapsed", "result", "action"),
    [
        (0.0, 54.9, BOOM, Action.RETRY),
        (0.0, 55.1, BOOM, Action.FAIL),
        (50.0, 5.1, BOOM, Action.FAIL),
        (0.0, 1.0, replace(BOOM, retry_in=58.0), Action.RETRY),
        (0.0, 1.0, replace(BOOM, retry_in=59.0), Action.FAIL),
        (0.0, 1.0, replace(BOOM, still_runs_for=59.0), Action.FAIL),
    ],
)
def test_a_failure_is_final_when_its_retry_would_begin_after_the_overall_timeout(
    since: float, elapsed: float, result: Result, action: Action
) -> None:
    policy = RetryPolicy(9, FIVE_SECONDS_LATER, overall_timeout=60)
    settlement = settle(replace(CLAIM, since_first_start=since), result, policy, 300, lambda: 0.5, elapsed)
    assert settlement.action is action
    assert settlement.error is not None
    assert settlement.error.kind is Kind.RAISED


def test_a_job_that_comes_again_after_its_overall_timeout_does_not_begin() -> None:
    policy = RetryPolicy(overall_timeout=60)
    assert admit(replace(CLAIM, since_first_start=59.9), policy) is None
    refusal = admit(replace(CLAIM, since_first_start=60.0), policy)
    assert isinstance(refusal, Failed)
    assert (refusal.error.kind, refusal.final) == (Kind.TIMED_OUT, True)
