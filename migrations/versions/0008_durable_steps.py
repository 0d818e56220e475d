"""Durable steps: which attempt recorded a step, as the how manieth of its run, and how.

Kind: expand.

The table `durable_step` is of the first schema, and nothing has written it until now. `number` is a step's position in
the run that recorded it; `kind` is `step`, or `tx` for one whose effects committed with its record.
`losses_before_step` of a job is how many workers it had lost when its newest step was recorded: only those lost since
then count against max_worker_losses. A worker of the release before leaves both as they are.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE durable_step
    ADD COLUMN number integer NOT NULL DEFAULT 0,
    ADD COLUMN attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN kind text NOT NULL DEFAULT 'step';

ALTER TABLE job ADD COLUMN losses_before_step integer NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("ALTER TABLE job DROP COLUMN losses_before_step")
    op.execute("ALTER TABLE durable_step DROP COLUMN number, DROP COLUMN attempt, DROP COLUMN kind")
