WITH free AS MATERIALIZED (
    SELECT id FROM job
    WHERE publish_at IS NOT NULL AND (not_before IS NULL OR not_before <= statement_timestamp())
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE job j SET publish_at = statement_timestamp() FROM free WHERE j.id = free.id
RETURNING j.id
