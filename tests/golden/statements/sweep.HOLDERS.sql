SELECT j.worker_id AS id, count(*) AS jobs
FROM job j LEFT JOIN worker w ON w.id = j.worker_id
WHERE j.worker_id IS NOT NULL
  AND (w.id IS NULL OR w.seen_at < statement_timestamp() - make_interval(secs => 2 * %(ttl)s))
GROUP BY j.worker_id
ORDER BY j.worker_id
LIMIT %(limit)s
