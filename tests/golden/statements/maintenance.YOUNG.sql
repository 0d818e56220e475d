SELECT DISTINCT o.id
FROM unnest(CAST(%(ids)s AS uuid[])) AS i (id)
CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = i.id LIMIT 1) o
JOIN job j ON j.orchestration_id = o.id AND j.index >= %(first)s AND j.index < %(first)s + %(rows)s
WHERE j.published_at
      >= statement_timestamp()
         - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(%(completed_age)s AS float8)
                                 ELSE CAST(%(failed_age)s AS float8) END)
