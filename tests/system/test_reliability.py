"""What the design promises about crashes, rollouts, outages and hostile messages, each in its short form.

The scenarios are those of `python -m tests.chaos`, where their times are exact limits; here a time only bounds
a hang. They wait most of the while, so three run beside each other, on one Pub/Sub and each with a Postgres of its own;
those of the default timings hardly do anything else, and begin with them.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from daemon.local.pubsub_process import PubSubProcess
from tests.chaos.report import Report
from tests.chaos.scenarios import bus, database, endings, fence, hostile, latency, leases, messages, recovery
from tests.chaos.stack import pointed_at

pytestmark = pytest.mark.long

TTL = 3.0
DEFAULT_TTL = 30.0
PLATFORM_KILLS = 10.0
HALF_A_LEASE = 30.0
LEASE = 10.0
AT_ONCE = 3

Running = dict[str, asyncio.Task[Report]]


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Running]:
    """Every scenario that needs no Pub/Sub of its own, started."""
    with PubSubProcess() as pubsub, pointed_at(pubsub.address):
        at = pubsub.address
        turns = asyncio.Semaphore(AT_ONCE)
        scenarios: dict[str, Coroutine[Any, Any, Report]] = {
            "kill": recovery.after_kill(TTL, jobs=20, at=at),
            "sigterm": recovery.after_sigterm(at=at),
            "blocked": recovery.after_sigterm(recovery.BLOCKED, at=at),
            "stopped": fence.stopped(TTL, LEASE, at=at),
            "poison": fence.poison(TTL, at=at),
            "endings": endings.all_endings(at=at),
            "messages": messages.all_messages(at=at),
            "hostile": hostile.hostile_messages(waves=2, at=at),
            "rolling": recovery.rolling(workers=2, at=at),
            "database": database.stopped(TTL * 2, TTL, at=at),
            "answers": database.answers_lost(jobs=500, at=at),
        }
        patient: dict[str, Coroutine[Any, Any, Report]] = {
            "kill-default": recovery.after_kill(DEFAULT_TTL, jobs=20, at=at),
            "stopped-default": fence.stopped(DEFAULT_TTL, at=at),
            "held-default": leases.held_by_a_killed_worker(at=at),
            "database-default": database.stopped(DEFAULT_TTL + 10, at=at),
        }
        tasks = {name: asyncio.create_task(scenario) for name, scenario in patient.items()}
        tasks |= {name: asyncio.create_task(_in_turn(turns, scenario)) for name, scenario in scenarios.items()}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())


async def _in_turn(turns: asyncio.Semaphore, scenario: Coroutine[Any, Any, Report]) -> Report:
    async with turns:
        return await scenario


async def judged(report: Coroutine[Any, Any, Report] | asyncio.Task[Report]) -> Report:
    """Print the figures for the report of a failure, and assert that all are within their limits."""
    figures = await report
    print(figures.scenario, *figures.figures, sep="\n")
    assert figures.broken_or_hung == []
    return figures


async def test_the_jobs_of_a_killed_worker_run_again(running: Running) -> None:
    await judged(running["kill"])


async def test_sigterm_interrupts_every_manner_of_handler_and_charges_nobody(running: Running) -> None:
    await judged(running["sigterm"])


async def test_sigterm_ends_a_worker_whose_event_loop_is_blocked(running: Running) -> None:
    await judged(running["blocked"])


async def test_a_stopped_worker_loses_its_claims_and_lives_on_under_a_new_id(running: Running) -> None:
    await judged(running["stopped"])


async def test_a_job_that_kills_its_worker_is_given_up_and_the_others_come_through(running: Running) -> None:
    await judged(running["poison"])


async def test_timeouts_deadlines_and_cancels_end_jobs_and_checkpoints_carry_them_on(running: Running) -> None:
    await judged(running["endings"])


async def test_a_message_that_comes_ten_times_runs_once_and_a_fifth_of_failures_is_told_whole(
    running: Running,
) -> None:
    await judged(running["messages"])


async def test_every_hostile_message_ends_with_a_reason_and_good_jobs_come_through(running: Running) -> None:
    await judged(running["hostile"])


@pytest.mark.long
async def test_a_rolling_replacement_charges_nobody_and_never_stands_still(running: Running) -> None:
    await judged(running["rolling"])


async def test_an_absence_of_the_database_longer_than_worker_ttl_costs_no_job_and_no_worker(running: Running) -> None:
    await judged(running["database"])


async def test_answers_that_are_lost_after_the_commit_lose_and_double_nothing(running: Running) -> None:
    await judged(running["answers"])


async def test_by_default_the_jobs_of_a_killed_worker_run_again_within_35_seconds(running: Running) -> None:
    await judged(running["kill-default"])


async def test_by_default_messages_that_a_killed_worker_held_begin_elsewhere_when_half_a_lease_is_over(
    running: Running,
) -> None:
    report = await judged(running["held-default"])
    assert report.value("begun elsewhere after, longest, s") < HALF_A_LEASE + AT_ONCE * 5


@pytest.mark.long
async def test_by_default_a_worker_stopped_for_over_30_seconds_loses_its_claims(running: Running) -> None:
    await judged(running["stopped-default"])


async def test_by_default_an_absence_of_the_database_for_40_seconds_costs_no_job(running: Running) -> None:
    await judged(running["database-default"])


async def test_the_event_follows_the_last_return(running: Running) -> None:
    await asyncio.wait(running.values())
    await judged(latency.completion(orchestrations=20))


async def test_sigterm_ends_a_worker_in_time_whatever_its_handlers_do_and_however_crowded_the_machine_is(
    running: Running,
) -> None:
    await asyncio.wait(running.values())
    report = await judged(recovery.after_sigterm(recovery.STUCK, crowded=True))
    assert report.value("exit after, s") < PLATFORM_KILLS


@pytest.mark.long
async def test_sigterm_ends_a_blocked_worker_in_time_whose_last_transaction_gets_no_answer(running: Running) -> None:
    await asyncio.wait(running.values())
    report = await judged(recovery.unheard_stop(TTL))
    assert report.value("exit after, s") < PLATFORM_KILLS


@pytest.mark.long
async def test_an_absence_of_pubsub_costs_no_job_and_no_worker_and_readiness_tells_it(running: Running) -> None:
    await asyncio.wait(running.values())
    await judged(bus.gone(16.0))


@pytest.mark.long
async def test_a_pubsub_that_forgot_everything_is_served_again_from_the_rows(running: Running) -> None:
    await asyncio.wait(running.values())
    await judged(bus.forgotten(jobs=60))
