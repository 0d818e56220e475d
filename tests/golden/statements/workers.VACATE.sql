WITH over AS MATERIALIZED (
    SELECT id FROM job
    WHERE occupied_by = ANY(CAST(%(workers)s AS uuid[])) AND (%(all)s OR id = ANY(CAST(%(ids)s AS uuid[])))
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE job j
SET occupied_by = NULL,
    not_before = CASE WHEN j.status = 'InProgress' AND j.worker_id IS NULL AND %(delay)s > 0
                      THEN statement_timestamp() + make_interval(secs => %(delay)s) ELSE j.not_before END,
    publish_at = CASE WHEN j.status = 'InProgress' AND j.worker_id IS NULL
                      THEN greatest(statement_timestamp() + make_interval(secs => %(delay)s), j.not_before)
                      ELSE j.publish_at END
FROM over WHERE j.id = over.id
