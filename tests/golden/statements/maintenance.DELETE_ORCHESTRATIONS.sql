WITH old AS MATERIALIZED (
    SELECT id FROM orchestration o
    WHERE id = ANY(CAST(%(ids)s AS uuid[])) AND pruning_at IS NOT NULL
      AND (SELECT count(*) FROM (SELECT FROM job WHERE orchestration_id = o.id LIMIT 1) j) = 0
    ORDER BY id
    FOR UPDATE
)
DELETE FROM orchestration o USING old WHERE o.id = old.id
RETURNING o.id
