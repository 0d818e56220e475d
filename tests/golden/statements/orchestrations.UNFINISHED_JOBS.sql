SELECT id, worker_id, attempt FROM job WHERE id = ANY(CAST(%(ids)s AS uuid[])) AND status = 'InProgress' ORDER BY id
