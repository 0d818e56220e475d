"""What the handlers of the fleet take and return, and when a job's first attempt began.

Kind: expand.

`handler` has a row for each handler and revision of a worker; workers write it at their start. `secrets` are pointers
into the JSON of the params (`*` stands for any element or key): what the read side masks. A schema is null where JSON
Schema can't describe the type. `first_started_at` of a job is when its first attempt began since it was last reopened;
a worker of the release before leaves it as it is.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE handler (
    name text NOT NULL,
    revision text NOT NULL,
    params_schema json,
    result_schema json,
    secrets text[] NOT NULL DEFAULT '{}',
    first_started_at timestamptz NOT NULL DEFAULT now(),
    last_started_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, revision)
);

ALTER TABLE job ADD COLUMN first_started_at timestamptz;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP TABLE handler")
    op.execute("ALTER TABLE job DROP COLUMN first_started_at")
