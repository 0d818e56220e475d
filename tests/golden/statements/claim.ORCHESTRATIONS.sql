INSERT INTO orchestration (id, job_name, total, tags, traceparent)
SELECT i.id, i.job_name, i.total, CAST(i.tags AS jsonb), i.traceparent
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(names)s AS text[]), CAST(%(totals)s AS int[]), CAST(%(tags)s AS text[]),
            CAST(%(traceparents)s AS text[])) AS i (id, job_name, total, tags, traceparent)
WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = i.id)
ORDER BY i.id
ON CONFLICT (id) DO NOTHING
