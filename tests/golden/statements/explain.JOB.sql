SELECT id, orchestration_id, index, job_name, status, attempt, failures, losses, cause, publishes, created_at,
       started_at, finished_at, progress_current, progress_total, progress_message,
       CAST(params AS text) AS params, CAST(result AS text) AS result, error
FROM job WHERE id = %(id)s
