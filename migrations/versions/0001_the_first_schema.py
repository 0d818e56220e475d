"""The first schema: orchestrations, jobs and what surrounds them.

Kind: expand.

Payloads (params, checkpoint, result) are of type json, not jsonb: they are kept to the letter, numbers included, and
cost no conversion. Partial indexes hold only what is unfinished; a finished job stays in three small indexes.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE orchestration (
    id uuid PRIMARY KEY,
    generation integer NOT NULL DEFAULT 1,
    job_name text NOT NULL,
    tags jsonb NOT NULL DEFAULT '{}',
    total integer NOT NULL,
    completed integer NOT NULL DEFAULT 0,
    errored integer NOT NULL DEFAULT 0,
    finishes integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    deadline timestamptz,
    cancelled_at timestamptz,
    completed_at timestamptz,
    outcome text,
    event_published_at timestamptz,
    parent uuid REFERENCES orchestration ON DELETE SET NULL,
    stage integer NOT NULL DEFAULT 0,
    next jsonb,
    idempotency_key text UNIQUE,
    traceparent text,
    CONSTRAINT orchestration_counts CHECK (completed >= 0 AND errored >= 0 AND completed + errored <= total),
    CONSTRAINT orchestration_complete CHECK ((completed_at IS NOT NULL) = (completed + errored = total)),
    CONSTRAINT orchestration_outcome CHECK ((outcome IS NOT NULL) = (completed_at IS NOT NULL)),
    CONSTRAINT orchestration_event CHECK (event_published_at IS NULL OR completed_at IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- A job's orchestration has no foreign key. Its check would lock that row (FOR KEY SHARE) for every new job; as long as
-- one such lock is held, Postgres takes the row's old versions for being modified, and settlements that count in one
-- orchestration deadlock on them. A claim looks for orphans instead, and pruning deletes the jobs itself.
CREATE TABLE job (
    id uuid PRIMARY KEY,
    orchestration_id uuid NOT NULL,
    worker_id uuid,
    claim_token uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    publish_at timestamptz,
    published_at timestamptz,
    not_before timestamptz,
    progress_at timestamptz,
    progress_current double precision,
    progress_total double precision,
    index integer NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    losses integer NOT NULL DEFAULT 0,
    publishes integer NOT NULL DEFAULT 0,
    finish_number integer,
    status text NOT NULL DEFAULT 'InProgress',
    job_name text NOT NULL,
    cause text,
    message_id text,
    progress_message text,
    params json NOT NULL,
    checkpoint json,
    result json,
    error jsonb,
    CONSTRAINT job_place UNIQUE (orchestration_id, index),
    CONSTRAINT job_status CHECK (status IN ('InProgress', 'Completed', 'Errored')),
    CONSTRAINT job_has_a_future CHECK (status <> 'InProgress' OR worker_id IS NOT NULL OR publish_at IS NOT NULL),
    CONSTRAINT job_is_over CHECK (status = 'InProgress' OR (worker_id IS NULL AND publish_at IS NULL)),
    CONSTRAINT job_has_a_place CHECK ((finish_number IS NOT NULL) = (status <> 'InProgress')),
    CONSTRAINT job_dates CHECK (publish_at IS NULL OR not_before IS NULL OR not_before <= publish_at)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

CREATE TABLE failed_attempt (
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    attempt integer NOT NULL,
    worker_id uuid,
    started_at timestamptz,
    ended_at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    message text NOT NULL,
    traceback text,
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE redelivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    cause text NOT NULL,
    message_id text,
    worker_id uuid,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE progress_note (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    orchestration_id uuid NOT NULL,
    attempt integer NOT NULL,
    text text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE durable_step (
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    name text NOT NULL,
    result json,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, name)
);

CREATE TABLE worker (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    revision text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    regular_since timestamptz NOT NULL DEFAULT now(),
    draining_at timestamptz,
    slots integer NOT NULL,
    running integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE schedule (
    name text PRIMARY KEY,
    job_name text NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL DEFAULT 'UTC',
    params json NOT NULL DEFAULT '{}',
    tags jsonb NOT NULL DEFAULT '{}',
    next_at timestamptz NOT NULL,
    last_at timestamptz,
    paused_at timestamptz
);

CREATE TABLE repair (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause text NOT NULL,
    orchestration_id uuid,
    detail text NOT NULL,
    repaired_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rejected_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    reason text NOT NULL,
    text text NOT NULL,
    data bytea NOT NULL,
    attributes json NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz
);
"""

INDEXES = """
CREATE INDEX job_held ON job (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX job_due ON job (publish_at) WHERE publish_at IS NOT NULL;
CREATE UNIQUE INDEX job_finished ON job (orchestration_id, finish_number) WHERE finish_number IS NOT NULL;
CREATE INDEX orchestration_event_due ON orchestration (completed_at)
    WHERE completed_at IS NOT NULL AND event_published_at IS NULL;
CREATE INDEX orchestration_completed ON orchestration (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX orchestration_deadline ON orchestration (deadline) WHERE deadline IS NOT NULL AND completed_at IS NULL;
CREATE INDEX orchestration_unfinished ON orchestration (created_at) WHERE completed_at IS NULL;
CREATE INDEX orchestration_parent ON orchestration (parent) WHERE parent IS NOT NULL;
CREATE INDEX redelivery_job ON redelivery (job_id);
CREATE INDEX progress_note_orchestration ON progress_note (orchestration_id, id);
CREATE INDEX progress_note_job ON progress_note (job_id, id);
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(INDEXES)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute(
        "DROP TABLE rejected_message, repair, schedule, worker, durable_step, progress_note, redelivery,"
        " failed_attempt, job, orchestration"
    )
