UPDATE job j
SET status = 'InProgress', attempt = j.attempt + 1, failures = 0, losses = 0, finish_number = NULL, finished_at = NULL,
    error = NULL, cause = 'operator', not_before = NULL,
    publish_at = statement_timestamp() + CASE WHEN j.occupied_by IS NULL THEN interval '0' ELSE interval '1 minute' END
WHERE id = ANY(CAST(%(ids)s AS uuid[]))
