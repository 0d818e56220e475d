WITH dead AS MATERIALIZED (
    SELECT w.id
    FROM worker w CROSS JOIN worker me
    WHERE me.id = %(me)s AND me.seen_at > statement_timestamp() - make_interval(secs => %(gap)s)
      AND me.regular_since <= statement_timestamp() - make_interval(secs => %(ttl)s)
      AND w.id = ANY(CAST(%(ids)s AS uuid[])) AND w.id <> %(me)s
      AND w.seen_at < statement_timestamp() - make_interval(secs => %(ttl)s)
    ORDER BY w.id
    FOR UPDATE OF w SKIP LOCKED
)
DELETE FROM worker w USING dead WHERE w.id = dead.id
RETURNING w.id, w.draining_at IS NOT NULL AS draining
