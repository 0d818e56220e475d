SELECT o.id, o.completed_at, greatest(o.total, coalesce(j.index + 1, 0)) AS span
FROM orchestration o
LEFT JOIN LATERAL (SELECT index FROM job WHERE orchestration_id = o.id ORDER BY index DESC LIMIT 1) j ON true
WHERE o.completed_at >= coalesce(CAST(%(seen_at)s AS timestamptz), '-infinity')
  AND (o.completed_at, o.id) > (coalesce(CAST(%(seen_at)s AS timestamptz), '-infinity'), CAST(%(seen_id)s AS uuid))
  AND o.completed_at
      < statement_timestamp()
        - make_interval(secs => least(CAST(%(completed_age)s AS float8), CAST(%(failed_age)s AS float8)))
  AND o.completed_at
      < statement_timestamp()
        - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(%(completed_age)s AS float8)
                                ELSE CAST(%(failed_age)s AS float8) END)
  AND (o.event_published_at IS NOT NULL OR o.event_refused IS NOT NULL)
  AND o.pruning_at IS NULL
ORDER BY o.completed_at, o.id
LIMIT %(limit)s
