SELECT 1 FROM orchestration
WHERE id = %(id)s AND generation = %(generation)s AND reopening_at IS NOT NULL AND cancelled_at IS NULL
FOR NO KEY UPDATE
