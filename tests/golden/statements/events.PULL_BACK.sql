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
UPDATE orchestration o SET event_publish_at = statement_timestamp()
FROM mine WHERE o.id = mine.id
