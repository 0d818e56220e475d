SELECT total FROM orchestration WHERE id = %(id)s FOR NO KEY UPDATE
