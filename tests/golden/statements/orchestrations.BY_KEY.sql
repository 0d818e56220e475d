SELECT id, job_name, total FROM orchestration WHERE idempotency_key = %(idempotency_key)s
