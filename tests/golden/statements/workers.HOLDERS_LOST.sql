WITH RECURSIVE holder AS (
    (SELECT worker_id FROM job WHERE worker_id IS NOT NULL ORDER BY worker_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.worker_id FROM job j WHERE j.worker_id > h.worker_id ORDER BY j.worker_id LIMIT 1)
    FROM holder h WHERE h.worker_id IS NOT NULL
)
SELECT h.worker_id, w.id IS NULL AS missing
FROM (SELECT worker_id FROM holder UNION SELECT occupied_by FROM job WHERE occupied_by IS NOT NULL) h
LEFT JOIN worker w ON w.id = h.worker_id
WHERE h.worker_id IS NOT NULL
  AND (w.id IS NULL OR w.seen_at < statement_timestamp() - make_interval(secs => %(ttl)s))
