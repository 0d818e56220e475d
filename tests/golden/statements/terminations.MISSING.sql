SELECT o.id, missing.index, o.job_name
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[]), CAST(%(lows)s AS int[]), CAST(%(highs)s AS int[]))
     AS i (id, generation, low, high)
CROSS JOIN LATERAL (
    SELECT id, job_name FROM orchestration
    WHERE id = i.id AND generation = i.generation AND completed_at IS NULL
      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
    LIMIT 1
) o
CROSS JOIN LATERAL generate_series(i.low, i.high - 1) AS missing (index)
LEFT JOIN LATERAL (SELECT id FROM job WHERE orchestration_id = i.id AND index = missing.index LIMIT 1) j ON true
WHERE j.id IS NULL
