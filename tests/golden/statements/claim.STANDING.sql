SELECT seen_at > statement_timestamp() - make_interval(secs => %(ttl)s / 2) AS fresh FROM worker WHERE id = %(me)s
