"""Every setting of Headcount, read from the environment in this one file.

Called by the command line and by tests; nothing else reads HEADCOUNT_* variables. All problems are reported at once,
and secrets are masked whenever settings are shown.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from daemon.errors import SettingsInvalid

PREFIX = "HEADCOUNT_"
OTHER_VARIABLES = frozenset({"HEADCOUNT_PG_BIN", "HEADCOUNT_TEST_DATABASE_URL", "HEADCOUNT_HOME"})

_PLACEHOLDERS = {"database_url": "postgresql:///not-needed", "project": "not-needed"}

RENAMED = {
    "HOLD_SECONDS": "BUFFER_TIMEOUT_SECONDS",
    "LOOP_PATIENCE_SECONDS": "EVENT_LOOP_TIMEOUT_SECONDS",
    "UNKNOWN_JOB_PATIENCE_SECONDS": "UNKNOWN_JOB_GRACE_SECONDS",
    "MAX_LOSSES": "MAX_WORKER_LOSSES",
    "SWEEP_SECONDS": "SWEEP_INTERVAL_SECONDS",
}
"""Names of settings until 0.1, each with its name now: a value under an old name would silently have no effect."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """The settings of one worker or command, made by `load`. Durations are seconds, sizes bytes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    database_url: SecretStr = Field(description="Where the jobs live: postgresql://user:password@host/database")
    database_pooler: Literal["none", "transaction"] = Field(
        "none", description="`transaction` when PgBouncer pools by transaction: no prepared statements are kept"
    )
    project: str = Field(description="The Google Cloud project of the topics and the subscription")
    jobs_topic: str = "jobs"
    jobs_subscription: str = "jobs-worker"
    events_topic: str = "job-events"
    dead_letter_topic: str = Field("jobs-dead", description="Where Pub/Sub puts what it gave up delivering")
    dead_letter_subscription: str = "jobs-dead-worker"
    handlers: str = Field("handlers", description="Packages whose modules hold the handlers, separated by commas")
    handlers_path: Path = Field(Path("."), description="The folder that holds those packages")
    slots: Annotated[int, Field(ge=1, le=10_000)] = Field(100, description="How many jobs run at the same time")
    process_slots: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="Child processes for `process` handlers, one job each; 0 is as many as there are CPUs"
    )
    process_max_jobs: Annotated[int, Field(ge=0)] = Field(
        1000, description="A child process is replaced after so many jobs; 0 is never"
    )
    process_max_memory_mib: Annotated[int, Field(ge=0)] = Field(
        0, description="A child process that takes more memory after a job is replaced; 0 is never"
    )
    memory_limit_mib: Annotated[int, Field(ge=0)] = Field(
        0, description="What a worker and its processes may take; 0 is the limit of its control group, if it has one"
    )
    step_connections: Annotated[int, Field(ge=1, le=100)] = Field(
        4, description="Database connections, beside the worker's own, for steps with tx=True; opened when needed"
    )
    step_statement_timeout_seconds: Seconds = Field(60.0, description="How long a statement of such a step may take")
    prefetch: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        None, description="Messages buffered beyond the running ones; default twice the slots, 0 for long jobs"
    )
    streams: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="Streaming pulls to begin with; more are opened when they carry all they can"
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(9090, description="Metrics and health; 0 picks a free one")
    http_host: str = Field(
        "0.0.0.0", description="Who may reach that port: 127.0.0.1 this machine only, 0.0.0.0 its whole network"
    )
    drain_seconds: Seconds = Field(6.0, description="How long handlers may go on after SIGTERM")
    worker_ttl_seconds: Seconds = Field(30.0, description="A worker without heartbeat for so long is dead")
    lease_seconds: Annotated[float, Field(ge=10, le=600)] = 60.0
    max_worker_losses: Annotated[int, Field(ge=1)] = Field(3, description="Lost workers after which a job is Errored")
    republish_after_seconds: Seconds = Field(3600.0, description="A published job unclaimed for so long is sent again")
    unknown_job_grace_seconds: Seconds = Field(
        300.0, description="A job without a handler is retried for so long, for a rollout may bring one"
    )
    buffer_timeout_seconds: Seconds = Field(
        10.0, description="A message that has waited here so long for a free slot goes back"
    )
    event_loop_timeout_seconds: Seconds = Field(60.0, description="A blocked event loop is fatal after so long")
    sweep_interval_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        60.0, description="How often the sweeper runs; 0 switches it off"
    )
    result_limit_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_values: bool = Field(False, description="Whether errors may tell params and bound values, in logs and rows too")
    api_host: str = Field("127.0.0.1", description="Who may reach `headcount api`: 0.0.0.0 is its whole network")
    api_port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Where `headcount api` answers")
    api_auth: Literal["required", "off"] | None = Field(
        None, description="By default off on a loopback address without tokens or accounts, else required"
    )
    api_tokens: SecretStr = Field(
        SecretStr(""), description="NAME:ROLE:SHA256, separated by commas; the role is read or operate"
    )
    api_audience: str = Field("", description="The audience of Google's identity tokens: usually the API's own URL")
    api_accounts: str = Field("", description="EMAIL:ROLE or @DOMAIN:ROLE, separated by commas, of identity tokens")
    api_body_limit_bytes: Annotated[int, Field(ge=1024)] = Field(
        10 * 1024 * 1024, description="A request with a larger body is refused"
    )
    api_link_keys: SecretStr = Field(
        SecretStr(""), description="ID:SECRET of at least 32 bytes in hex, separated by commas; the first signs links"
    )
    api_stream_seconds: Seconds = Field(
        300.0, description="A stream of progress ends after so long, up to twice that, and its client comes back"
    )
    revision: str = Field("", description="Which release this is; Cloud Run's own variables are the default")
    pool: str = Field("default", description="The worker pool: a label of every metric, and in `headcount workers`")

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        problem = _problem_of_url(value.get_secret_value())
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator("pool")
    @classmethod
    def _is_a_label(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", value):
            raise ValueError("is not a label: lower-case letters, digits, - and _, at most 63, with no sign at an end")
        return value

    @field_validator("drain_seconds")
    @classmethod
    def _ends_in_time(cls, value: float) -> float:
        if value > 8:
            raise ValueError("is over 8, but Cloud Run kills 10 s after SIGTERM")
        return value

    @property
    def prefetch_limit(self) -> int:
        """How many messages may be buffered here beyond those that run.

        A slot is free again while the outcome of its job is stored, so with short jobs as many messages as there are
        slots wait for that. As many again must wait for a slot, or it stays empty until Pub/Sub has sent another.
        """
        return self.slots * 2 if self.prefetch is None else self.prefetch

    @property
    def heartbeat_seconds(self) -> float:
        """The interval of heartbeats: a sixth of worker_ttl (5 s by default)."""
        return self.worker_ttl_seconds / 6

    @property
    def packages(self) -> list[str]:
        """The handler packages, in order."""
        return [name.strip() for name in self.handlers.split(",") if name.strip()]

    def topic(self, name: str) -> str:
        """The full resource name of a topic."""
        return name if name.startswith("projects/") else f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """The full resource name of a subscription."""
        return name if name.startswith("projects/") else f"projects/{self.project}/subscriptions/{name}"

    def redacted(self) -> dict[str, str]:
        """Every setting as text, the database password masked."""
        shown = {name: str(value) for name, value in self if name != "database_url"}
        shown["database_url"] = _masked(self.database_url.get_secret_value())
        return dict(sorted(shown.items()))


def load(
    environment: Mapping[str, str] | None = None, *, without: Collection[str] = (), **overrides: object
) -> Settings:
    """The settings of this process. Raises SettingsInvalid naming every problem at once.

    `without` names required settings (database_url, project) that the caller's command has no use for.
    """
    environment = os.environ if environment is None else environment
    given = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
    values: dict[str, object] = {
        key[len(PREFIX) :].lower(): value for key, value in given.items() if _field(key) in Settings.model_fields
    }
    if values.get("revision", "") in ("", "unknown"):
        values["revision"] = _cloud_revision(environment)
    values.update(overrides)
    for name in without:
        values.setdefault(name, _PLACEHOLDERS[name])
    problems, fixes = _unknown(given)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            problem, fix = _describe(detail["loc"], detail["msg"], detail["type"])
            problems.append(problem)
            fixes.append(fix)
    if problems:
        raise SettingsInvalid(" ".join(problems), " && ".join(fix for fix in fixes if fix))
    return settings


def _problem_of_url(url: str) -> str | None:
    """Why it can't be used, in words that show nothing of it: any part of it may be a part of the password."""
    escaped = "in a password write / as %2F, # as %23, ? as %3F, @ as %40, : as %3A, [ as %5B"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"has a host or a port that can't be read; {escaped}"
    if parts.scheme not in ("postgresql", "postgres"):
        return "is not a Postgres URL; it looks like postgresql://user:password@host/database"
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    if "@" in password + parts.path + parts.query or parts.fragment or parts.netloc.endswith(":"):
        return f"can't be divided into user, password, host and database; {escaped}"
    return None


def _masked(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None and "password" not in unquote(parts.query):
        return url
    user = f"{parts.username}:***@" if parts.username else ""
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(
        netloc=user + address, query="***" if "password" in unquote(parts.query) else parts.query
    ).geturl()


def _field(variable: str) -> str:
    return variable[len(PREFIX) :].lower()


def _unknown(given: Mapping[str, str]) -> tuple[list[str], list[str]]:
    problems, fixes = [], []
    for key in sorted(given):
        if _field(key) in Settings.model_fields or key in OTHER_VARIABLES:
            continue
        if new := RENAMED.get(key.removeprefix(PREFIX)):
            problems.append(f"{key} is called {PREFIX}{new} now.")
            fixes.append(f'export {PREFIX}{new}="${key}" && unset {key}')
            continue
        near = difflib.get_close_matches(_field(key), Settings.model_fields, n=1)
        hint = f" (did you mean {PREFIX}{near[0].upper()}?)" if near else ""
        problems.append(f"{key} is not a setting of Headcount{hint}.")
        fixes.append(f"unset {key}")
    return problems, fixes


def _describe(location: tuple[int | str, ...], message: str, kind: str) -> tuple[str, str]:
    variable = PREFIX + str(location[0]).upper()
    if kind == "missing":
        examples = {"database_url": "postgresql://user:password@host/headcount", "project": "my-project"}
        return f"{variable} is not set.", f"export {variable}={examples.get(str(location[0]), '...')}"
    return f"{variable}: {message.removeprefix('Value error, ')}.", f"unset {variable}"


def _cloud_revision(environment: Mapping[str, str]) -> str:
    for name in ("CLOUD_RUN_REVISION", "CLOUD_RUN_WORKER_POOL_REVISION", "K_REVISION"):
        if environment.get(name):
            return environment[name]
    return ""
