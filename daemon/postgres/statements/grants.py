"""What a worker may do in the database: work with the rows of every table, and change none of the tables.

The same as deploy/grants.sql, for `headcount migrate --worker-role`. A name can't be a parameter of GRANT, so that the
role is a setting of the transaction, which the second statement quotes as an identifier.
"""

from sqlalchemy import text

NAME_ROLE = text("SELECT set_config('headcount.worker_role', :role, true)")

GRANT = text("""
DO $$
DECLARE
    role text = current_setting('headcount.worker_role');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %I', role);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON headcount_schema FROM %I', role);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public
                    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', role);
END
$$
""")
