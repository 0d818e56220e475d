WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(seen)s AS timestamptz[]), CAST(%(attempts)s AS int[]))
                  AS i (id, seen, attempt)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = i.attempt
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET publish_at = greatest(j.not_before, statement_timestamp()
                          + make_interval(secs => least(%(longest)s, %(first)s * 2.0 ^ least(j.publishes - 1, 20)))),
    published_at = NULL
FROM free WHERE j.id = free.id
