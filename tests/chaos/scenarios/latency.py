"""How long after the last handler's return the event is in a subscriber's hands, at low load."""

from __future__ import annotations

from tests.chaos.crew import Crew
from tests.chaos.report import Report, quantile
from tests.chaos.scenarios.recovery import jobs_of
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
from tests.harness.waiting import until

INSTANCES = 3


async def completion(*, orchestrations: int = 60, limit: float = 0.05, at: str | None = None) -> Report:
    """One orchestration after the other, each with its event awaited."""
    report = Report("from the last return to the event")
    delays, starts = [], []
    with Stage(at=at) as stage:
        await stage.provision()
        with Witness(stage.project) as witness:
            async with stage.client() as client, Crew(stage.environment(), stage.folder, 1):
                for _ in range(orchestrations):
                    made = await client.kick_off("nap", [{"seconds": 0.02}] * INSTANCES)
                    heard = await until(lambda id=made.id: witness.heard(id), within=20, what="the event came")  # type: ignore[misc]
                    ids = {str(one) for one in jobs_of(made.id, INSTANCES)}
                    own = [one for one in stage.entries() if one.job_id in ids]
                    delays.append((heard or 0.0) - max(one.at for one in own if one.kind == "end"))
                    starts.append(len(own))
    report.note("orchestrations", len(delays))
    report.within("last return to event received, p50", quantile(delays, 0.5), limit)
    report.note("last return to event received, p99, s", quantile(delays, 0.99))
    return report
