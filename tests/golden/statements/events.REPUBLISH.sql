WITH refused AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE id = %(orchestration_id)s AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refusals > 0
    FOR NO KEY UPDATE
)
UPDATE orchestration o SET event_refused = NULL, event_refusals = 0, event_publish_at = statement_timestamp()
FROM refused WHERE o.id = refused.id
RETURNING o.id
