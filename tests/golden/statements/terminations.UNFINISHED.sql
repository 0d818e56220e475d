SELECT j.id, j.worker_id, j.attempt, o.id AS orchestration_id
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[]), CAST(%(lows)s AS int[]), CAST(%(highs)s AS int[]))
     AS i (id, generation, low, high)
CROSS JOIN LATERAL (
    SELECT id FROM orchestration
    WHERE id = i.id AND generation = i.generation AND completed_at IS NULL
      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
    LIMIT 1
) o
CROSS JOIN LATERAL (
    SELECT id, worker_id, attempt FROM job
    WHERE orchestration_id = i.id AND index >= i.low AND index < i.high AND status = 'InProgress'
    OFFSET 0
) j
