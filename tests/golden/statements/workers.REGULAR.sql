SELECT 1 FROM worker
WHERE id = %(me)s AND seen_at > statement_timestamp() - make_interval(secs => %(gap)s)
  AND regular_since <= statement_timestamp() - make_interval(secs => %(ttl)s)
FOR KEY SHARE
