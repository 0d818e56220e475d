"""`headcount explain`: why an orchestration or a job is not finished, in words an operator can act on.

Called with an orchestration's or a job's id. Reading only; the runbook has a section for each verdict.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import typer

from daemon.cli.connection import Database, with_database
from daemon.cli.formatting import show_state, state_as_json
from daemon.cli.options import AsJson, Reveal
from daemon.cli.output import echo, echo_json, shorten
from daemon.inspection import MEANING, Explanation, JobExplanation, JobSnapshot, Verdict, to_json
from daemon.rules.limits import PARALLELISM
from daemon.rules.secret_fields import masked_text

NEWEST_STEPS = 10


def explain(
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="An orchestration or a job.", show_default=False)],
    reveal: Reveal = False,
    as_json: AsJson = False,
) -> None:
    """Say why an orchestration, or one job, is not finished."""
    from daemon.errors import OrchestrationNotFound

    async def ask(database: Database) -> Explanation | JobExplanation:
        try:
            return await database.queries.explain(identifier)
        except OrchestrationNotFound:
            found = await database.queries.explain_job(identifier)
            pointers = () if reveal else await database.queries.secrets_in_params(found.job.job_name)
            params = found.job.params
            shown = None if params is None else masked_text(params, pointers)
            return replace(found, job=replace(found.job, params=shown))

    found = with_database(ask)
    if isinstance(found, Explanation):
        _orchestration(found, as_json)
    else:
        _job(found, as_json)


def _orchestration(found: Explanation, as_json: bool) -> None:
    if as_json:
        verdicts = [_verdict_as_json(verdict) for verdict in found.verdicts]
        echo_json({"orchestration": state_as_json(found.state), "verdicts": verdicts})
        return
    show_state(found.state)
    for verdict in found.verdicts:
        _show_verdict(verdict)
    if found.state.event_refused is not None:
        echo(f"    {shorten(found.state.event_refused, 300)}", style="red")
        echo(f"    headcount republish {found.state.id}")


def _job(found: JobExplanation, as_json: bool) -> None:
    if as_json:
        echo_json({**to_json(found), "verdict": found.verdict and _verdict_as_json(found.verdict)})
        return
    job = found.job
    echo(f"{job.job_name}  job {job.id}  #{job.index} of {job.orchestration_id}  {job.status}")
    echo(f"  attempt {job.attempt}, {job.failures} failures, {job.losses} lost workers")
    echo(f"  params: {shorten(job.params, 160)}")
    if found.verdict is not None:
        _show_verdict(found.verdict)
    if len(found.steps) > NEWEST_STEPS:
        echo(f"  {len(found.steps)} steps are recorded; the last {NEWEST_STEPS}:")
    for step in found.steps[-NEWEST_STEPS:]:
        when = f"{step.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        echo(f"  step {step.number} {step.name}: recorded {when} by attempt {step.attempt}")
    if job.error is not None:
        echo(f"  {job.error['kind']}: {shorten(job.error['message'], 300)}", style="red")
    for attempt in found.history:
        when = f"{attempt.ended_at.astimezone():%Y-%m-%d %H:%M:%S}"
        echo(f"  attempt {attempt.attempt} ended {when}: {attempt.kind}: {_first(attempt.message)}")
    for redelivery in found.redeliveries:
        echo(f"  delivered again {redelivery.received_at.astimezone():%Y-%m-%d %H:%M:%S}: {redelivery.cause}")


def _show_verdict(verdict: Verdict) -> None:
    echo(f"  {verdict.word}: {verdict.count} - {MEANING[verdict.word]}", style="bold")
    for message in verdict.rejected:
        echo(f"    headcount rejected show {message.id}: {message.reason}: {shorten(message.text, 200)}")
    if verdict.word == "PAUSED":
        echo(f"    headcount resume {shlex.quote(verdict.jobs[0].job_name)}")
    for job in verdict.jobs:
        echo(f"    #{job.index} {job.id}: " + ", ".join(_facts(job)))


def _facts(job: JobSnapshot) -> list[str]:
    facts = [f"attempt {job.attempt}", f"{job.failures} failures"]
    if job.worker_id is not None:
        age = "no heartbeat row" if job.heartbeat_age is None else f"heartbeat {_seconds(job.heartbeat_age)} ago"
        facts.append(f"held by {job.worker_id} on {job.host} ({age}), started {_seconds(job.started_ago)} ago")
    if job.waits_limit is not None and job.limit_size is not None:
        facts.append(_limit(job))
    if job.progress_ago is not None:
        done = f"{job.progress_current:g}/{job.progress_total or 0:g}" if job.progress_current else ""
        message = shorten(job.progress_message or "", 80)
        facts.append(f"progress {done} {message} {_seconds(job.progress_ago)} ago".replace("  ", " "))
    if job.worker_id is None:
        facts.append(_publication(job))
    if job.last_kind is not None:
        facts.append(f"last: {job.last_kind}: {_first(str(job.last_message))}")
    return facts


def _limit(job: JobSnapshot) -> str:
    if job.waits_limit == PARALLELISM:
        limit, of = "the parallelism of its orchestration", ""
    else:
        limit = f"the limit {shorten(job.waits_limit or '', 80)!r}"
        of = f" of {shorten(job.waits_key, 80)!r}" if job.waits_key else ""
    if job.limit_period is not None:
        return f"number {job.limit_place} in line for {limit}{of}: {job.limit_size} starts every {job.limit_period:g} s"
    holders = ", ".join(map(str, job.limit_holders or ())) or "nobody"
    used = f"{job.limit_used} of {job.limit_size} permits{of} are taken, by {holders}"
    return f"number {job.limit_place} in line for {limit}: {used}"


def _publication(job: JobSnapshot) -> str:
    """When its message was published and when it is to be. A row whose date has passed is not known to be in Pub/Sub:
    a relay notes a try before it makes it."""
    tried = None if job.published_ago is None else _seconds(job.published_ago)
    due = job.publish_in
    if due is not None and due <= 0:
        return f"{'never published' if tried is None else f'publication tried {tried} ago'}, due since {_seconds(-due)}"
    if tried is None:
        return f"never published, to be published in {_seconds(due)}"
    return f"published {tried} ago, published again in {_seconds(due)}"


def _verdict_as_json(verdict: Verdict) -> dict[str, object]:
    examples = [to_json(job) for job in verdict.jobs] + [to_json(message) for message in verdict.rejected]
    return {"verdict": verdict.word, "count": verdict.count, "meaning": MEANING[verdict.word], "examples": examples}


def _seconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f} s"


def _first(text: str) -> str:
    return shorten(text.splitlines()[0] if text else "", 120)
