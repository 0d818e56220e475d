"""How many jobs of an orchestration run at once, and which job names are paused.

Kind: expand.

Both are limits: `parallelism` of that many jobs of the orchestration, a row of `paused_job` of none. A worker of the
release before knows neither, and takes such jobs without a permit.
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
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP TABLE paused_job")
    op.execute("ALTER TABLE orchestration DROP COLUMN parallelism")
