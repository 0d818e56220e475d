"""A function that ends a transaction with a code of ours when something it rests on does not hold.

Kind: expand.

The guards of a claim travel in one packet with it, so they must fail by themselves. The release before does not call
it. Everybody may, also in a database whose functions are closed to PUBLIC by default: all it can do is raise.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE FUNCTION headcount_require(ok boolean, code text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF ok THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = 'a guard of headcount does not hold';
END
$$;
GRANT EXECUTE ON FUNCTION headcount_require(boolean, text) TO PUBLIC;
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP FUNCTION headcount_require(boolean, text)")
