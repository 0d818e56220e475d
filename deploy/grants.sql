-- What a worker may do in the database: work with the rows of every table, and change none of the tables.
--
--   psql "$OWNER_URL" --set=worker=headcount-worker@PROJECT.iam --file=deploy/grants.sql
--
-- Run it once as the role that owns the tables (the one `headcount migrate` runs as), after the first migration. Tables of
-- later migrations are covered by the default privileges. Afterwards `headcount doctor` finds nothing missing.
GRANT USAGE ON SCHEMA public TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"worker";
REVOKE INSERT, UPDATE, DELETE ON headcount_schema FROM :"worker";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"worker";
