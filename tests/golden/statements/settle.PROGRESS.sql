WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(%(ids)s AS uuid[]), CAST(%(workers)s AS uuid[]), CAST(%(attempts)s AS int[]),
        CAST(%(currents)s AS float8[]), CAST(%(totals)s AS float8[]), CAST(%(messages)s AS text[])
    ) AS i (id, worker_id, attempt, current, total, message)
), held AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j
SET progress_current = coalesce(i.current, j.progress_current), progress_total = coalesce(i.total, j.progress_total),
    progress_message = coalesce(i.message, j.progress_message), progress_at = statement_timestamp()
FROM held h JOIN input i ON i.id = h.id
WHERE j.id = h.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
