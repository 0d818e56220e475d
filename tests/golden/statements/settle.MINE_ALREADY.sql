SELECT i.id
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(workers)s AS uuid[]), CAST(%(attempts)s AS int[]), CAST(%(actions)s AS text[]),
            CAST(%(kinds)s AS text[])) AS i (id, worker_id, attempt, action, kind)
JOIN job j ON j.id = i.id
WHERE (i.action = 'complete' AND j.status = 'Completed' AND j.attempt = i.attempt)
   OR EXISTS (SELECT FROM failed_attempt f
              WHERE f.job_id = i.id AND f.attempt = i.attempt AND f.worker_id = i.worker_id AND f.kind = i.kind)
