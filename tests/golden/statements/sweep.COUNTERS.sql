SELECT o.id, o.total, o.completed, o.errored, o.completed_at IS NOT NULL AS complete,
       r.completed AS rows_completed, r.errored AS rows_errored, r.total AS rows_total
FROM orchestration o
CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(*) FILTER (WHERE j.status = 'Completed') AS completed,
           count(*) FILTER (WHERE j.status = 'Errored') AS errored
    FROM job j WHERE j.orchestration_id = o.id
) r
WHERE (o.completed_at IS NULL OR o.completed_at > statement_timestamp() - make_interval(secs => %(since)s))
  AND o.pruning_at IS NULL
  AND (o.completed <> r.completed OR o.errored <> r.errored
       OR (o.completed_at IS NOT NULL AND r.total <> o.total))
ORDER BY o.id
LIMIT %(limit)s
