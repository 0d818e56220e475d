SELECT id FROM worker WHERE seen_at < statement_timestamp() - make_interval(secs => %(ttl)s)
