WITH free AS MATERIALIZED (
    SELECT id FROM job WHERE id = ANY(CAST(%(ids)s AS uuid[])) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT j.id FROM job j WHERE j.id = ANY(CAST(%(ids)s AS uuid[])) AND NOT EXISTS (SELECT FROM free WHERE free.id = j.id)
