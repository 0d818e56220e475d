WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[]), CAST(%(seen)s AS timestamptz[]))
                  AS i (id, generation, seen)
), mine AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM orchestration o
        WHERE o.id = i.id AND o.generation = i.generation AND o.event_publish_at = i.seen
          AND o.completed_at IS NOT NULL AND o.event_published_at IS NULL
        FOR NO KEY UPDATE
    ) o
)
UPDATE orchestration o
SET event_refusals = o.event_refusals + 1,
    event_refused = CASE WHEN o.event_refusals + 1 >= %(most)s THEN CAST(%(reason)s AS text) END,
    event_publish_at = statement_timestamp()
                       + make_interval(secs => least(%(longest)s, %(first)s * 2.0 ^ least(o.event_refusals, 20)))
FROM mine WHERE o.id = mine.id
