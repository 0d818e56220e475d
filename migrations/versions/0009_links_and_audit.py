"""Links to the progress of one orchestration, and who changed what over the API.

Kind: expand.

`progress_link` has a row for each link that was signed; without its row, or once it is revoked, a link opens nothing.
`audit` has a row for each change that a caller asked for; `count` is null until it was carried out.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE progress_link (
    id uuid PRIMARY KEY,
    orchestration_id uuid NOT NULL,
    show text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX progress_link_orchestration ON progress_link (orchestration_id, created_at);

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz NOT NULL DEFAULT now(),
    caller text NOT NULL,
    action text NOT NULL,
    orchestration_id uuid,
    count integer,
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX audit_orchestration ON audit (orchestration_id, id) WHERE orchestration_id IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP TABLE audit, progress_link")
