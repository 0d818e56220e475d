WITH free AS MATERIALIZED (
    SELECT id FROM job
    WHERE status = 'InProgress' AND worker_id IS NULL AND orchestration_id = %(orchestration_id)s
      AND (not_before IS NULL OR not_before <= statement_timestamp())
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE job j SET publish_at = statement_timestamp() FROM free WHERE j.id = free.id
RETURNING j.id
