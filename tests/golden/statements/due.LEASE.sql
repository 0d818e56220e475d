WITH due AS MATERIALIZED (
    SELECT j.id, o.total, o.traceparent
    FROM job j CROSS JOIN LATERAL (SELECT total, traceparent FROM orchestration WHERE id = j.orchestration_id LIMIT 1) o
    WHERE j.publish_at <= statement_timestamp()
    ORDER BY j.publish_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE job j
SET publish_at = statement_timestamp() + make_interval(secs => %(publishing)s),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM due
WHERE j.id = due.id
RETURNING j.id, j.orchestration_id, j.index, j.job_name, due.total, due.traceparent, j.publish_at, j.attempt
