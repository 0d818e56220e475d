WITH RECURSIVE place AS (
    (SELECT orchestration_id FROM job WHERE orchestration_id >= '00000000-0000-0000-0000-000000000000'
     ORDER BY orchestration_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.orchestration_id FROM job j WHERE j.orchestration_id > p.orchestration_id
            ORDER BY j.orchestration_id LIMIT 1)
    FROM place p WHERE p.orchestration_id IS NOT NULL
)
SELECT p.orchestration_id AS id, r.jobs, r.unfinished
FROM place p
LEFT JOIN LATERAL (SELECT id FROM orchestration WHERE id = p.orchestration_id LIMIT 1) o ON true
CROSS JOIN LATERAL (SELECT count(*) AS jobs, count(*) FILTER (WHERE j.status = 'InProgress') AS unfinished
                    FROM job j WHERE j.orchestration_id = p.orchestration_id AND o.id IS NULL) r
WHERE p.orchestration_id IS NOT NULL AND o.id IS NULL
LIMIT %(limit)s
