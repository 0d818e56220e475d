"""Writes headcount.json, the Grafana dashboard, from the panels listed here.

Run it by hand after a change: `python deploy/dashboard/generate.py`. A test fails when the file is not what this
writes, or when a panel asks for a series or a label that the code does not have.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 24, 7
POOL = 'pool=~"$pool"'
PICKED = 'job_name=~"$job_name"'


@dataclass(frozen=True)
class Panel:
    """One graph, or with `stat` one number: its queries by legend, its unit in Grafana's words."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    stat: bool = False


def age(series: str) -> str:
    """How long ago it was at the scrape, as in the alerts: with `time()` it would grow on where scrapes have ended."""
    return f"timestamp({series}) - ({series} > 0)"


def of_pool(query: str) -> str:
    """The same query of the chosen pools only."""
    braced = re.sub(r"\b(headcount_[a-z_]+)\{", rf"\1{{{POOL},", query)
    return re.sub(r"\b(headcount_[a-z_]+)(?![a-z_{])", rf"\1{{{POOL}}}", braced)


def rate(series: str, by: str = "") -> str:
    """How often per second, summed up, by one label or over everything."""
    return f"sum{by and f' by ({by}) '}(rate({series}[$__rate_interval]))"


def increase(series: str, by: str = "") -> str:
    """How many more since the point before, summed up likewise."""
    return rate(series, by).replace("(rate(", "(increase(")


def quantiles(series: str, by: str = "") -> dict[str, str]:
    """The median, the 90th and the 99th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    rate = f"sum by ({labels}) (rate({series}[$__rate_interval]))"
    return {f"p{p}{legend}": f"histogram_quantile({p / 100}, {rate})" for p in (50, 90, 99)}


ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel("Workers", {"workers": "count(headcount_worker_info)"}, stat=True),
        Panel("Slots used", {"used": "sum(headcount_slots_used) / sum(headcount_slots)"}, "percentunit", stat=True),
        Panel("Orchestrations in progress", {"open": "max(headcount_orchestrations_in_progress)"}, stat=True),
        Panel("Oldest unfinished", {"age": "max(headcount_oldest_unfinished_age_seconds)"}, "s", stat=True),
        Panel("Due for publication", {"due": "max(headcount_relay_backlog)"}, stat=True),
        Panel("Database unavailable", {"lanes": "max(headcount_database_unavailable)"}, stat=True),
    ],
    "Jobs": [
        Panel(
            "Outcomes",
            {"{{outcome}}": f"sum by (outcome) (rate(headcount_jobs_finished_total{{{PICKED}}}[$__rate_interval]))"},
            "ops",
            "Completed and Errored end a job; Retried and Interrupted do not; Stale came too late to count.",
        ),
        Panel(
            "Ended, by job",
            {
                "{{job_name}}": "sum by (job_name) (rate("
                f'headcount_jobs_finished_total{{{PICKED},outcome=~"Completed|Errored"}}[$__rate_interval]))'
            },
            "ops",
        ),
        Panel(
            "Errors, by kind",
            {"{{kind}}": f"sum by (kind) (rate(headcount_attempt_failures_total{{{PICKED}}}[$__rate_interval]))"},
            "ops",
        ),
        Panel(
            "Duration",
            quantiles(f"headcount_job_duration_seconds_bucket{{{PICKED}}}", "job_name"),
            "s",
            "Of attempts that have ended. Exemplars lead to the trace.",
        ),
        Panel(
            "Queue delay",
            quantiles(f"headcount_queue_delay_seconds_bucket{{{PICKED}}}"),
            "s",
            "From the publication of the message to the start of the handler.",
        ),
        Panel(
            "Slots",
            {
                "used": "sum(headcount_slots_used)",
                "all": "sum(headcount_slots)",
                "leased": "sum(headcount_messages_outstanding)",
                "buffered": "sum(headcount_messages_buffered)",
            },
            about="Leased messages beyond the used slots are buffered: they wait here for a free slot.",
        ),
    ],
    "Messages": [
        Panel(
            "In",
            {
                "received": rate("headcount_messages_received_total"),
                "started": rate("headcount_jobs_started_total"),
                "refused {{reason}}": rate("headcount_messages_refused_total", "reason"),
                "nacked {{reason}}": rate("headcount_messages_nacked_total", "reason"),
                "claims unresolved": rate("headcount_claims_unresolved_total"),
            },
            "ops",
        ),
        Panel(
            "Redeliveries, by cause",
            {"{{cause}}": rate("headcount_redeliveries_total", "cause")},
            "ops",
        ),
        Panel(
            "Rejected and dead",
            {
                "{{reason}}": "sum by (reason) (increase(headcount_messages_rejected_total[$__rate_interval])) > 0",
                "dead letters {{outcome}}": increase("headcount_dead_letters_total", "outcome"),
            },
        ),
        Panel(
            "Out",
            {
                "{{type}}": rate("headcount_messages_published_total", "type"),
                "failed {{type}}": rate("headcount_publish_failures_total", "type"),
            },
            "ops",
        ),
        Panel("Relay: age of the oldest due", {"age": "max(headcount_relay_backlog_age_seconds)"}, "s"),
        Panel(
            "Ends of streams",
            {"{{error}}": increase("headcount_stream_ends_total", "error")},
        ),
    ],
    "Database": [
        Panel(
            "Items per commit", quantiles("headcount_batch_items_bucket", "operation"), about="It grows with the load."
        ),
        Panel("Commit", quantiles("headcount_batch_commit_seconds_bucket", "operation"), "s"),
        Panel(
            "Trouble",
            {
                "retries {{operation}}": rate("headcount_batch_retries_total", "operation"),
                "unavailable {{operation}}": rate("headcount_database_unavailable_seconds_total", "operation"),
                "splits {{operation}}": rate("headcount_batch_splits_total", "operation"),
                "rejected {{operation}}": rate("headcount_batch_items_rejected_total", "operation"),
            },
        ),
        Panel("Waiting for a connection", quantiles("headcount_connection_wait_seconds_bucket"), "s"),
    ],
    "Workers": [
        Panel(
            "Heartbeat: since the last one",
            {"{{instance}}": age("headcount_heartbeat_timestamp_seconds")},
            "s",
            "Others declare a worker dead after 30 s.",
        ),
        Panel("Event loop lag", quantiles("headcount_event_loop_lag_seconds_bucket", "instance"), "s"),
        Panel(
            "Rescues and repairs",
            {
                "dead workers": increase("headcount_rescues_total"),
                "jobs {{outcome}}": increase("headcount_jobs_rescued_total", "outcome"),
                "repairs {{cause}}": increase("headcount_repairs_total", "cause"),
                "released": increase("headcount_jobs_released_total"),
                "claims lost": increase("headcount_claims_lost_total"),
            },
            about="A repair is a bug.",
        ),
        Panel(
            "Draining",
            {
                "since {{instance}}": age("headcount_draining_timestamp_seconds"),
                "interrupted": increase("headcount_drain_interrupted_jobs_total"),
            },
            "s",
        ),
        Panel(
            "Failures of background loops",
            {"{{loop}}": increase("headcount_background_loop_failures_total", "loop")},
        ),
        Panel("Memory", {"{{instance}}": "process_resident_memory_bytes and on (instance) headcount_slots"}, "bytes"),
        Panel(
            "Processor",
            {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) headcount_slots"},
        ),
        Panel(
            "Releases",
            {"{{pool}} {{version}} {{revision}}": "count by (pool, version, revision) (headcount_worker_info)"},
        ),
    ],
}


def dashboard() -> dict[str, object]:
    """The whole dashboard, as Grafana imports it."""
    panels: list[dict[str, object]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": place(0, top, WIDTH, 1)})
        top += 1
        per_line = len(row) if row[0].stat else 4 if len(row) % 4 == 0 else 3
        width, height = WIDTH // per_line, 4 if row[0].stat else HEIGHT
        for number, panel in enumerate(row):
            line, column = divmod(number, per_line)
            panels.append(drawn(panel, place(column * width, top + line * height, width, height)))
        top += -(-len(row) // per_line) * height
    return {
        "uid": "headcount",
        "title": "Headcount",
        "tags": ["headcount"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source_variable(), label_variable("pool", "Pool"), label_variable("job_name", "Job")]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def drawn(panel: Panel, where: dict[str, int]) -> dict[str, object]:
    """One panel in Grafana's words."""
    targets = [
        {
            "refId": chr(ord("A") + number),
            "expr": of_pool(query),
            "legendFormat": legend,
            "exemplar": "_bucket" in query,
        }
        for number, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "gridPos": where,
        "targets": targets,
    }


def place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Where on the grid."""
    return {"x": x, "y": y, "w": width, "h": height}


def source_variable() -> dict[str, object]:
    """The choice of a Prometheus."""
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def label_variable(name: str, title: str) -> dict[str, object]:
    """The choice of a label's values."""
    return {
        "name": name,
        "label": title,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": f"label_values(headcount_jobs_started_total, {name})",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def written() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "headcount.json").write_text(written(), encoding="utf-8")
