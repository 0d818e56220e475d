SELECT generation, completed_at IS NOT NULL AS complete, event_published_at IS NOT NULL AS published, errored,
       pruning_at IS NOT NULL AS pruning
FROM orchestration WHERE id = %(id)s FOR NO KEY UPDATE
