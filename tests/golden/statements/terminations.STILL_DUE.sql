SELECT count(*) FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(generations)s AS int[])) AS i (id, generation)
CROSS JOIN LATERAL (SELECT FROM orchestration
                    WHERE id = i.id AND generation = i.generation
                      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
                    LIMIT 1) o
