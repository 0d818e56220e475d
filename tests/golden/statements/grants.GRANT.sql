DO $$
DECLARE
    role text = current_setting('headcount.worker_role');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %%I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %%I', role);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON headcount_schema FROM %%I', role);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %%I', role);
END
$$
