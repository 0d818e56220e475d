WITH failed AS MATERIALIZED (
    SELECT id FROM job
    WHERE orchestration_id = %(id)s AND status = 'Errored' AND CAST(params AS text) <> 'null'
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE job j
SET status = 'InProgress', attempt = j.attempt + 1, failures = 0, losses = 0, finish_number = NULL, finished_at = NULL,
    error = NULL, cause = 'operator', publish_at = statement_timestamp()
FROM failed WHERE j.id = failed.id
RETURNING j.id
