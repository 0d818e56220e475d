WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(seen)s AS timestamptz[])) AS i (id, seen)
), free AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = 0
      AND j.publish_at IS NOT DISTINCT FROM i.seen
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j
SET publish_at = greatest(j.publish_at, statement_timestamp() + make_interval(secs => %(republish_after)s)),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM free WHERE j.id = free.id
