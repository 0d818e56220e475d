WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(seen)s AS timestamptz[]), CAST(%(attempts)s AS int[]))
                  AS i (id, seen, attempt)
), free AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = i.attempt
      AND j.publish_at IS NOT DISTINCT FROM i.seen
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j SET publish_at = greatest(statement_timestamp(), j.not_before)
FROM free WHERE j.id = free.id
