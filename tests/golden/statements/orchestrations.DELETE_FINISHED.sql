WITH old AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE completed_at < statement_timestamp() - make_interval(secs => %(older_than)s)
      AND (event_published_at IS NOT NULL OR event_refused IS NOT NULL)
    ORDER BY completed_at LIMIT 500
    FOR UPDATE
), jobs AS (
    DELETE FROM job WHERE orchestration_id = ANY(ARRAY(SELECT id FROM old))
)
DELETE FROM orchestration WHERE id = ANY(ARRAY(SELECT id FROM old))
RETURNING id
