SELECT attempt, worker_id, started_at, ended_at, kind, message, traceback
FROM failed_attempt WHERE job_id = %(id)s ORDER BY attempt
