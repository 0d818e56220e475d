UPDATE orchestration o
SET event_published_at = statement_timestamp()
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[])) AS i (id, generation)
WHERE o.id = i.id AND o.generation = i.generation AND o.completed_at IS NOT NULL AND o.event_published_at IS NULL
