"""${message}

Kind: expand | contract (an expand must leave the previous release's worker running; a contract moves the comment on
headcount_schema, "suits releases from REVISION on", to the oldest migration whose release can live with it).
"""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("")


def downgrade() -> None:
    op.execute("")
