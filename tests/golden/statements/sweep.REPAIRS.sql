SELECT cause, count(*) AS count, max(repaired_at) AS last FROM repair GROUP BY cause ORDER BY cause
