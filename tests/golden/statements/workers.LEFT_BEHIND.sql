SELECT id, worker_id, attempt, losses FROM job
WHERE worker_id = ANY(CAST(%(ids)s AS uuid[])) AND status = 'InProgress'
ORDER BY id
LIMIT 20000
