SELECT id, generation, total, closed_below, cancelled_at IS NOT NULL AS cancelled
FROM orchestration
WHERE id = %(id)s AND completed_at IS NULL AND reopening_at IS NULL
  AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
  AND pg_try_advisory_xact_lock(%(key)s, hashtext(CAST(id AS text)))
