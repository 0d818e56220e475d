"""The storm in its short form: two workers, 2,000 jobs, and about a minute of everything that can go wrong."""

from tests.chaos.monkey import Mischief
from tests.chaos.scenarios.storm import Storm, storm
from tests.chaos.stage import Stage

SHORT = Storm(
    workers=2,
    orchestrations=40,
    size=50,
    nap=0.3,
    spread=12.0,
    worker_ttl=3.0,
    lease=10.0,
    patience=90.0,
    sweep=5.0,
    mischief=Mischief(
        kill_every=5.0, restart_at=4, crash_at=18, database_away=1, absence_at=11, absence=3, stop_at=9, stop=5
    ),
)


async def test_two_workers_lose_and_double_nothing_in_a_storm() -> None:
    with Stage(hostile=7) as stage:
        report = await storm(stage, SHORT, "short storm")
    print(*report.figures, sep="\n")
    assert report.broken == []
