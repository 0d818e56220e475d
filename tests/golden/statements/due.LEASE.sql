WITH due AS MATERIALIZED (
    SELECT id FROM job
    WHERE publish_at <= statement_timestamp()
    ORDER BY publish_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE job j
SET publish_at = statement_timestamp() + make_interval(secs => %(publishing)s),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM due JOIN job d ON d.id = due.id JOIN orchestration o ON o.id = d.orchestration_id
WHERE j.id = due.id
RETURNING j.id, j.orchestration_id, j.index, j.job_name, o.total, o.traceparent, j.publish_at, j.attempt
