"""Durable steps, and jobs that are suspended while they sleep or wait for a signal.

Kind: expand.

The table `durable_step` is of the first schema, and nothing has written it until now. `number` is a step's position in
the run that recorded it; `kind` is `step`, `tx` for one whose effects committed with its record, `sleep`, `wait`,
`signal` (it took `signal_id`) or `timeout`; `due_at` is when a sleep or wait is over. `losses_before_step` of a job is
how many workers it had lost when its newest step was recorded: only those lost since then count against
max_worker_losses. `waits_signal` names the signal that a suspended job waits for, `signals` counts those sent to it.
A signal needs no job row; `counted_at` is when it was counted on one. The index tells orchestrations that
wait on purpose from those that are stuck. A worker of the release before leaves all of
this as it is, and runs a suspended job when it is due.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE durable_step
    ADD COLUMN number integer NOT NULL DEFAULT 0,
    ADD COLUMN attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN kind text NOT NULL DEFAULT 'step',
    ADD COLUMN signal_id text,
    ADD COLUMN due_at timestamptz;

ALTER TABLE job
    ADD COLUMN losses_before_step integer NOT NULL DEFAULT 0,
    ADD COLUMN suspensions integer NOT NULL DEFAULT 0,
    ADD COLUMN signals integer NOT NULL DEFAULT 0,
    ADD COLUMN waits_signal text;

CREATE TABLE signal (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    job_id uuid NOT NULL,
    name text NOT NULL,
    payload json NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    counted_at timestamptz
);
CREATE INDEX signal_job ON signal (job_id, name, number);
CREATE INDEX signal_uncounted ON signal (sent_at) WHERE counted_at IS NULL;
"""


SUSPENDED = """
CREATE INDEX CONCURRENTLY job_suspended ON job (orchestration_id)
WHERE cause = 'resumed' AND worker_id IS NULL AND status = 'InProgress'
"""


def upgrade() -> None:
    op.execute(TABLES)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS job_suspended")
        op.execute(SUSPENDED)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP INDEX job_suspended")
    op.execute("DROP TABLE signal")
    op.execute(
        "ALTER TABLE job DROP COLUMN losses_before_step, DROP COLUMN suspensions, DROP COLUMN signals,"
        " DROP COLUMN waits_signal"
    )
    op.execute(
        "ALTER TABLE durable_step DROP COLUMN number, DROP COLUMN attempt, DROP COLUMN kind, DROP COLUMN signal_id,"
        " DROP COLUMN due_at"
    )
