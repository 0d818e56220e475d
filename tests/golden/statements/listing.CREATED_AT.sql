SELECT created_at FROM orchestration WHERE id = %(id)s
