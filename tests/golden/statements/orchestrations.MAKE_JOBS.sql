INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, not_before)
SELECT i.id, %(orchestration_id)s, i.index, %(job_name)s, CAST(i.params AS json),
       coalesce(CAST(%(start_at)s AS timestamptz), statement_timestamp() + make_interval(secs => %(grace)s)),
       CAST(%(start_at)s AS timestamptz)
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(indexes)s AS int[]), CAST(%(params)s AS text[])) AS i (id, index, params)
RETURNING id, publish_at
