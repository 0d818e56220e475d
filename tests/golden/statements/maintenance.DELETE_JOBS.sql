WITH old AS MATERIALIZED (
    SELECT j.id
    FROM unnest(CAST(%(ids)s AS uuid[])) AS i (id)
    CROSS JOIN LATERAL (SELECT id FROM orchestration WHERE id = i.id AND pruning_at IS NOT NULL LIMIT 1) o
    JOIN job j ON j.orchestration_id = o.id AND j.index >= %(first)s AND j.index < %(first)s + %(rows)s
    ORDER BY j.id
    FOR UPDATE OF j
)
DELETE FROM job j USING old WHERE j.id = old.id
RETURNING j.id
