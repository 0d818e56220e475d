INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, dead_letters, last_dead_letter_at)
SELECT i.id, o.id, i.index, i.job_name, CAST(i.params AS json), statement_timestamp(), 1, statement_timestamp()
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(orchestration_ids)s AS uuid[]), CAST(%(indexes)s AS int[]), CAST(%(counts)s AS int[]),
            CAST(%(names)s AS text[]), CAST(%(params)s AS text[]))
     AS i (id, orchestration_id, index, count, job_name, params)
CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = i.orchestration_id LIMIT 1) o
WHERE i.index < o.total AND i.job_name = o.job_name AND (i.count IS NULL OR i.count = o.total)
  AND o.completed_at IS NULL
ORDER BY i.id
ON CONFLICT DO NOTHING
RETURNING id
