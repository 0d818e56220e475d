"""Limits over the whole fleet: who has a permit, and which job waits for one.

Kind: expand.

`limit_key` has one row for each limit and key; a claim locks it, so that two of them never count the same permits.
`permit` has a row for each job that may run under a limit. `waits_limit` and `waits_key` of a job name the first limit
that was full when it was claimed; it is dated meanwhile, as every unfinished job is. A worker of the release before
takes such a job without a permit, at that date.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE limit_key (
    limit_name text NOT NULL,
    key text NOT NULL,
    size integer NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (limit_name, key)
) WITH (fillfactor = 50);

CREATE TABLE permit (
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    limit_name text NOT NULL,
    key text NOT NULL,
    given_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, limit_name, key)
);
CREATE INDEX permit_key ON permit (limit_name, key);

ALTER TABLE job
    ADD COLUMN has_permits boolean NOT NULL DEFAULT false,
    ADD COLUMN waits_limit text,
    ADD COLUMN waits_key text;

-- The value that a job counts under; a long one is stored as its MD5.
CREATE FUNCTION headcount_limit_key(source text, field text, tags jsonb, params json) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(value) > 200 THEN md5(value) ELSE coalesce(value, '') END
    FROM (SELECT CASE source WHEN 'tags' THEN tags ->> field
                             WHEN 'params' THEN params #>> string_to_array(field, '.') END AS value) found
$$;
GRANT EXECUTE ON FUNCTION headcount_limit_key(text, text, jsonb, json) TO PUBLIC;
"""

WAITERS = """
CREATE INDEX CONCURRENTLY job_waiting ON job (waits_limit, waits_key, created_at)
WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
"""


def upgrade() -> None:
    op.execute(TABLES)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS job_waiting")
        op.execute(WAITERS)
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    op.execute("DROP INDEX job_waiting")
    op.execute("DROP FUNCTION headcount_limit_key(text, text, jsonb, json)")
    op.execute("ALTER TABLE job DROP COLUMN has_permits, DROP COLUMN waits_limit, DROP COLUMN waits_key")
    op.execute("DROP TABLE permit, limit_key")
