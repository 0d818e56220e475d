"""Which migrations a database has had: Alembic's table, and the comment on it that the newest ones leave.

Asked at each start, by the role that a worker has.
"""

from sqlalchemy import text

TABLE_EXISTS = text("SELECT to_regclass('headcount_schema') IS NOT NULL")

NEWEST_MIGRATION = text("SELECT version_num FROM headcount_schema")

COMMENT_ON_TABLE = text("SELECT obj_description(to_regclass('headcount_schema'), 'pg_class')")
