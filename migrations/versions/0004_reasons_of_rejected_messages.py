"""The reasons of rejected messages that were renamed, in the rows that were kept under the old names.

Kind: expand.

`headcount rejected list --reason` and the replay then find all of them by one name. A worker of the release before that
still runs writes old names: they stand in the list as they are, and `headcount migrate` run again does not touch them.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RENAMED = {
    "ParamsNoJson": "InvalidJson",
    "ParamsNoObject": "ParamsNotObject",
    "ParamsHoldNul": "ParamsContainNul",
}


RENAME = text("UPDATE rejected_message SET reason = :new WHERE reason = :old")


def upgrade() -> None:
    for old, new in RENAMED.items():
        op.execute(RENAME.bindparams(old=old, new=new))


def downgrade() -> None:
    for old, new in RENAMED.items():
        op.execute(RENAME.bindparams(old=new, new=old))
