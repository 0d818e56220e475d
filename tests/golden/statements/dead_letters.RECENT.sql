SELECT i.id FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(moments)s AS timestamptz[])) AS i (id, published)
WHERE i.published > statement_timestamp() - make_interval(secs => %(retention)s)
