SELECT id, index, progress_current, progress_total, progress_message
FROM job WHERE orchestration_id = %(id)s AND worker_id IS NOT NULL ORDER BY started_at LIMIT %(limit)s
