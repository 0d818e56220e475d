SELECT generation, completed_at IS NOT NULL AS complete, errored,
       event_published_at IS NOT NULL OR event_refused IS NOT NULL AS published
FROM orchestration WHERE id = %(id)s FOR NO KEY UPDATE
