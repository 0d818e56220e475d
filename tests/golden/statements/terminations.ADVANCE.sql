WITH mine AS MATERIALIZED (
    SELECT o.id, i.high
    FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[]), CAST(%(lows)s AS int[]), CAST(%(highs)s AS int[]))
         AS i (id, generation, low, high)
    JOIN orchestration o ON o.id = i.id AND o.generation = i.generation AND o.closed_below = i.low
                        AND o.completed_at IS NULL
    ORDER BY o.id
    FOR NO KEY UPDATE OF o
)
UPDATE orchestration o SET closed_below = CASE WHEN m.high >= o.total THEN 0 ELSE m.high END
FROM mine m WHERE o.id = m.id
