"""How many jobs of an orchestration run at once, which job names are paused, and limits by rate.

Kind: expand.

All are limits: `parallelism` of that many jobs of the orchestration, a row of `paused_job` of none. A `limit_key` with
a `period` is a rate: `size` starts in so many seconds, the next one at `next_at`. `limits` of a handler tells a
kick-off which jobs to hold back. A worker of the release before knows none of them, and takes such jobs without a
permit.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE orchestration ADD COLUMN parallelism integer CHECK (parallelism > 0)")
    op.execute("CREATE TABLE paused_job (job_name text PRIMARY KEY, paused_at timestamptz NOT NULL DEFAULT now())")
    op.execute("ALTER TABLE limit_key ADD COLUMN period float8, ADD COLUMN next_at timestamptz NOT NULL DEFAULT now()")
    op.execute("ALTER TABLE handler ADD COLUMN limits json NOT NULL DEFAULT '[]'")
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP TABLE paused_job")
    op.execute("ALTER TABLE limit_key DROP COLUMN period, DROP COLUMN next_at")
    op.execute("ALTER TABLE handler DROP COLUMN limits")
    op.execute("ALTER TABLE orchestration DROP COLUMN parallelism")
