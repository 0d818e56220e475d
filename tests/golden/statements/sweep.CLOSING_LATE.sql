SELECT id, cancelled_at IS NOT NULL AS cancelled
FROM orchestration
WHERE completed_at IS NULL
  AND (cancelled_at < statement_timestamp() - make_interval(secs => %(patience)s)
       OR deadline < statement_timestamp() - make_interval(secs => %(patience)s))
ORDER BY created_at
LIMIT %(limit)s
