WITH due AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
      AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refused IS NULL
    ORDER BY coalesce(event_publish_at, completed_at)
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE orchestration o
SET event_publish_at = statement_timestamp() + make_interval(secs => %(publishing)s)
FROM due WHERE o.id = due.id
RETURNING o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.outcome, o.created_at,
          o.completed_at, o.traceparent, o.event_publish_at
