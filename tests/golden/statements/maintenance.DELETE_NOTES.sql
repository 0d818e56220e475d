WITH old AS MATERIALIZED (
    SELECT id FROM progress_note WHERE orchestration_id = ANY(CAST(%(ids)s AS uuid[])) LIMIT %(rows)s
)
DELETE FROM progress_note WHERE id = ANY(ARRAY(SELECT id FROM old))
RETURNING id
