WITH old AS MATERIALIZED (
    SELECT id FROM job
    WHERE orchestration_id = %(id)s AND NOT EXISTS (SELECT FROM orchestration o WHERE o.id = %(id)s)
    ORDER BY id
    LIMIT %(rows)s
    FOR UPDATE
)
DELETE FROM job j USING old WHERE j.id = old.id
RETURNING j.id
