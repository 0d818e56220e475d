WITH refused AS MATERIALIZED (
    SELECT id FROM orchestration WHERE event_refused IS NOT NULL ORDER BY id FOR NO KEY UPDATE
)
UPDATE orchestration o SET event_refused = NULL, event_refusals = 0, event_publish_at = statement_timestamp()
FROM refused WHERE o.id = refused.id
RETURNING o.id
