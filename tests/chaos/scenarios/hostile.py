"""Hostile messages by the hundred, with good jobs in between: each ends with a reason, and the worker does not mind.

Run by `python -m tests.chaos` and by the system tests.
"""

from __future__ import annotations

from functools import partial

import psutil

from daemon.pubsub.publisher import Publisher
from tests.chaos.checks import check_invariants
from tests.chaos.corpus import corpus
from tests.chaos.report import Report
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

WAVES = 5
GOOD_JOBS = 100
MIB = 1 << 20
GROWTH_LIMIT = 25.0
ENDED = """
SELECT (SELECT count(*) FROM rejected_message WHERE reason <> '')
     + (SELECT count(*) FROM job WHERE status = 'Errored' AND error ->> 'kind' = 'InvalidParams')
"""
KINDS = """
SELECT reason, count(*) FROM rejected_message GROUP BY reason
UNION ALL SELECT error ->> 'kind', count(*) FROM job WHERE status = 'Errored' GROUP BY 1 ORDER BY 1
"""


async def hostile_messages(seed: int = 5, waves: int = WAVES, at: str | None = None) -> Report:
    """The whole corpus, in waves with good jobs between them, and once more to see whether anything grows."""
    report = Report("hostile messages")
    corpora = [corpus(seed + wave) for wave in range(waves)]  # with new ids each time: a known one is a redelivery
    report.note("kinds of messages", len({name for name, _, _ in corpora[0]}))
    with Stack(at=at) as stack:
        await stack.provision()
        async with stack.client() as client, WorkerPool(stack.environment(), stack.folder, 1) as pool:
            worker = pool.members[0].worker
            await (await client.kick_off("nap", [{}] * GOOD_JOBS)).wait(timeout=60)
            publisher = Publisher()
            topic = stack.settings().topic("jobs")
            try:
                sizes = []
                wanted = 0
                for wave, messages in enumerate(corpora):
                    await publisher.publish(topic, [(data, attributes) for _, data, attributes in messages])
                    good = await client.kick_off("nap", [{}] * GOOD_JOBS)
                    state = await good.wait(timeout=60)
                    report.is_exactly(f"wave {wave + 1}: good jobs Completed", state.completed, GOOD_JOBS)
                    wanted += len(messages)
                    await until(
                        partial(_at_least, stack, wanted),
                        within=60,
                        what=f"{wanted} messages have ended by wave {wave}",
                    )
                    sizes.append(psutil.Process(worker.pid).memory_info().rss / MIB)
            finally:
                await publisher.close()
            report.is_exactly("messages that ended with a reason", _ended(stack), sum(map(len, corpora)))
            report.note("worker's memory after the first wave, MiB", sizes[0])
            report.at_most("its growth until the last, MiB", sizes[-1] - sizes[0], GROWTH_LIMIT)
            report.is_exactly("ready", worker.status_of("/readyz") or 0, 200)
            report.none_of("workers that ended", pool.exits)
        for kind, count in stack.rows(KINDS):
            report.note(f"ended as {kind}", count)
        succeeded = stack.number("SELECT count(*) FROM job WHERE status = 'Completed'") - GOOD_JOBS * (waves + 1)
        report.is_exactly("hostile messages that succeeded", succeeded, 0)
        report.is_exactly("jobs unfinished", stack.number("SELECT count(*) FROM job WHERE status = 'InProgress'"), 0)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
        await check_invariants(report, stack, 30.0)
    return report


def _at_least(stack: Stack, wanted: int) -> bool:
    return _ended(stack) >= wanted


def _ended(stack: Stack) -> int:
    return stack.number(ENDED)
