SELECT id, generation, job_name, tags, total, completed, errored, outcome, created_at, completed_at, traceparent
FROM orchestration
WHERE completed_at IS NOT NULL AND event_published_at IS NULL
ORDER BY completed_at
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED
