INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)
SELECT i.id, i.orchestration_id, i.index, i.job_name, CAST(i.params AS json),
       statement_timestamp() + interval '1 minute'
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(orchestration_ids)s AS uuid[]), CAST(%(indexes)s AS int[]), CAST(%(names)s AS text[]),
            CAST(%(params)s AS text[])) AS i (id, orchestration_id, index, job_name, params)
JOIN orchestration o ON o.id = i.orchestration_id AND i.index < o.total AND o.pruning_at IS NULL
ORDER BY i.id
ON CONFLICT DO NOTHING
RETURNING id
