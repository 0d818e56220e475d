SELECT id FROM orchestration WHERE completed_at IS NULL AND cancelled_at IS NOT NULL ORDER BY created_at LIMIT 20
