SELECT id FROM orchestration
WHERE completed_at IS NULL AND deadline <= statement_timestamp()
ORDER BY deadline LIMIT 20
