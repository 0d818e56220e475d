WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(seen)s AS timestamptz[])) AS i (id, seen)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = 0
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET publish_at = greatest(j.publish_at, statement_timestamp() + make_interval(secs => %(republish_after)s)),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM free WHERE j.id = free.id
