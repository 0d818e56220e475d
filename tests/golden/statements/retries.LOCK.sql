SELECT generation, completed_at IS NOT NULL AS complete, reopening_at IS NOT NULL AS reopening, finishes,
       reopening_finishes, errored, pruning_at IS NOT NULL AS pruning,
       event_published_at IS NOT NULL OR event_refused IS NOT NULL AS published
FROM orchestration WHERE id = %(id)s FOR NO KEY UPDATE
