WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(workers)s AS uuid[]), CAST(%(attempts)s AS int[]),
                         CAST(%(checkpoints)s AS text[])) AS i (id, worker_id, attempt, checkpoint)
), held AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j SET checkpoint = CAST(i.checkpoint AS json)
FROM held h JOIN input i ON i.id = h.id
WHERE j.id = h.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
RETURNING j.id, j.attempt
