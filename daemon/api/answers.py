"""The forms of the answers: pages of records, and records whose params and results are JSON as it is stored.

Used by the routes. What holds stored JSON is written by hand, so that numbers are kept to the letter and a million
results need no parsing; the models here describe it to OpenAPI. Params are masked as the command line masks them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Query, Request
from pydantic import BaseModel, JsonValue

from daemon.inspection import MEANING, Explanation, JobExplanation, JobSnapshot, RejectedExample, StepSummary, Verdict
from daemon.job import JobError, Kind, Status
from daemon.orchestration import JobOutcome, OrchestrationState
from daemon.rules.secret_fields import masked_text

Item = TypeVar("Item")

Word = Annotated[str, Query(pattern=r"^[^\x00]*$", max_length=300)]
"""A text in a query that Postgres can compare with."""


class Page(BaseModel, Generic[Item]):
    """Some items, and the path of the next page, or null at the end."""

    items: list[Item]
    next: str | None


class Count(BaseModel):
    """How many instances a request has changed."""

    count: int


class InstanceResult(BaseModel):
    """A finished instance: `result` of a Completed one, `error` of an Errored one."""

    job_id: UUID
    index: int
    finish_number: int
    status: Status
    attempt: int
    failures: int
    params: JsonValue
    result: JsonValue = None
    error: JobError | None = None


class VerdictAnswer(BaseModel):
    """One way in which `count` jobs are not finished, in words, with a few of them or of the messages."""

    verdict: str
    count: int
    meaning: str
    examples: list[JobSnapshot | RejectedExample]


class ExplanationAnswer(BaseModel):
    """Why an orchestration is not finished, or that it is."""

    orchestration: OrchestrationState
    verdicts: list[VerdictAnswer]


class FailedAttemptAnswer(BaseModel):
    """An attempt that did not complete its job."""

    attempt: int
    worker_id: UUID | None
    started_at: datetime | None
    ended_at: datetime
    kind: Kind
    message: str
    traceback: str | None


class JobAnswer(BaseModel):
    """A job with its params and its result, its verdict while it is unfinished, and what happened to it."""

    id: UUID
    orchestration_id: UUID
    index: int
    job_name: str
    status: Status
    attempt: int
    failures: int
    losses: int
    cause: str | None
    publishes: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress_current: float | None
    progress_total: float | None
    progress_message: str | None
    params: JsonValue
    result: JsonValue
    error: dict[str, str | None] | None
    verdict: VerdictAnswer | None
    history: list[FailedAttemptAnswer]
    redeliveries: list[dict[str, JsonValue]]
    steps: list[StepSummary]


def next_page(request: Request, after: object | None) -> str | None:
    """The path and query of the same request from after `after` on; None when there is nothing more."""
    if after is None:
        return None
    url = request.url.include_query_params(after=str(after))
    return f"{url.path}?{url.query}"


def explanation(found: Explanation) -> ExplanationAnswer:
    """The same under the names of the command line."""
    return ExplanationAnswer(orchestration=found.state, verdicts=[_verdict(one) for one in found.verdicts])


def job(found: JobExplanation, secrets: Collection[str]) -> bytes:
    """A JobAnswer as JSON, its params masked."""
    shown = asdict(found.job) | {
        "params": _stored(found.job.params, secrets),
        "result": _stored(found.job.result),
        "verdict": found.verdict and _verdict(found.verdict).model_dump(mode="json"),
        "history": [asdict(one) for one in found.history],
        "redeliveries": [asdict(one) for one in found.redeliveries],
        "steps": [asdict(one) for one in found.steps],
    }
    return orjson.dumps(shown)


def instance(one: JobOutcome, secrets: Collection[str]) -> dict[str, object]:
    """An InstanceResult for `orjson`, its params masked."""
    shown: dict[str, object] = {
        "job_id": one.job_id,
        "index": one.index,
        "finish_number": one.finish_number,
        "status": one.status,
        "attempt": one.attempt,
        "failures": one.failures,
        "params": _stored(one.params, secrets),
    }
    if one.error is None:
        return {**shown, "result": _stored(one.result)}
    return {**shown, "error": asdict(one.error)}


def _stored(text: str | None, secrets: Collection[str] = ()) -> orjson.Fragment | None:
    """JSON as it is stored, on one line: a line break in it is space between tokens, for in a string it is escaped."""
    if text is None:
        return None
    return orjson.Fragment(masked_json(text, secrets).replace("\n", " ").replace("\r", " "))


def masked_json(text: str, secrets: Collection[str]) -> str:
    """The text with its secrets masked, still as JSON: what is masked as a whole is a string."""
    shown = masked_text(text, secrets)
    return shown if shown.startswith(("{", "[")) or not secrets else '"***"'


def _verdict(verdict: Verdict) -> VerdictAnswer:
    examples: list[JobSnapshot | RejectedExample] = [*verdict.jobs, *verdict.rejected]
    return VerdictAnswer(verdict=verdict.word, count=verdict.count, meaning=MEANING[verdict.word], examples=examples)
