"""How long after the last handler's return the event is in a subscriber's tasks, at low load."""

from __future__ import annotations

from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report, quantile
from tests.chaos.scenarios.recovery import jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

INSTANCES = 3


async def completion(*, orchestrations: int = 60, limit: float = 0.05, at: str | None = None) -> Report:
    """One orchestration after the other, each with its event awaited."""
    report = Report("from the last return to the event")
    delays, starts = [], []
    with Stack(at=at) as stack:
        await stack.provision()
        with EventListener(stack.project) as listener:
            async with stack.client() as client, WorkerPool(stack.environment(), stack.folder, 1):
                for _ in range(orchestrations):
                    made = await client.kick_off("nap", [{"seconds": 0.02}] * INSTANCES)
                    arrived = await until(lambda id=made.id: listener.received_at(id), within=20, what="the event came")  # type: ignore[misc]
                    ids = {str(one) for one in jobs_of(made.id, INSTANCES)}
                    own = [one for one in stack.entries() if one.job_id in ids]
                    delays.append((arrived or 0.0) - max(one.at for one in own if one.kind == "end"))
                    starts.append(len(own))
    report.note("orchestrations", len(delays))
    report.within("last return to event received, p50", quantile(delays, 0.5), limit)
    report.note("last return to event received, p99, s", quantile(delays, 0.99))
    return report
