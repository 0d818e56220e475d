SELECT id, worker_id, attempt FROM job
WHERE orchestration_id = %(id)s AND status = 'InProgress' ORDER BY id LIMIT 5000
