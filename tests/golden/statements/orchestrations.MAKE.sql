INSERT INTO orchestration (id, job_name, tags, total, deadline, idempotency_key, traceparent, completed_at, outcome)
VALUES (%(id)s, %(job_name)s, CAST(%(tags)s AS jsonb), %(total)s,
        statement_timestamp() + make_interval(secs => CAST(%(deadline)s AS float8)), %(idempotency_key)s, %(traceparent)s,
        CASE WHEN %(total)s = 0 THEN statement_timestamp() END, CASE WHEN %(total)s = 0 THEN 'Completed' END)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
