WITH old AS MATERIALIZED (
    SELECT id FROM progress_note WHERE orchestration_id = ANY(CAST(%(ids)s AS uuid[])) LIMIT %(rows)s
)
DELETE FROM progress_note n USING old WHERE n.id = old.id
RETURNING n.id
