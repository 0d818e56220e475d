SELECT place.index, o.job_name
FROM orchestration o
CROSS JOIN LATERAL generate_series(0, o.total - 1) AS place (index)
LEFT JOIN job j ON j.orchestration_id = o.id AND j.index = place.index
WHERE o.id = %(id)s AND j.id IS NULL
LIMIT 5000
