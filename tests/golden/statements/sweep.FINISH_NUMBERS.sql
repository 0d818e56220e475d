SELECT o.id, o.finishes, r.last, r.finished
FROM orchestration o
CROSS JOIN LATERAL (SELECT coalesce(max(finish_number), 0) AS last, count(finish_number) AS finished
                    FROM job j WHERE j.orchestration_id = o.id) r
WHERE o.generation = 1 AND o.pruning_at IS NULL AND (o.completed_at IS NULL OR o.completed_at > statement_timestamp()
                            - make_interval(secs => %(since)s))
  AND (o.finishes <> r.last OR r.finished <> r.last)
ORDER BY o.id
LIMIT %(limit)s
