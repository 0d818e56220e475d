DELETE FROM worker w
USING worker me
WHERE me.id = %(me)s AND me.seen_at > statement_timestamp() - make_interval(secs => %(gap)s)
  AND me.regular_since <= statement_timestamp() - make_interval(secs => %(ttl)s)
  AND w.id = ANY(CAST(%(ids)s AS uuid[])) AND w.id <> %(me)s
  AND w.seen_at < statement_timestamp() - make_interval(secs => %(ttl)s)
RETURNING w.id, w.draining_at IS NOT NULL AS draining
