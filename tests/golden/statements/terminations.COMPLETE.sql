SELECT completed_at IS NOT NULL FROM orchestration WHERE id = %(id)s
