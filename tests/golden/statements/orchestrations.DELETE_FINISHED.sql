DELETE FROM orchestration
WHERE id = ANY(ARRAY(
    SELECT id FROM orchestration
    WHERE completed_at < statement_timestamp() - make_interval(secs => %(older_than)s)
      AND event_published_at IS NOT NULL
    ORDER BY completed_at LIMIT 500
))
RETURNING id
