SELECT o.id, greatest(o.total, coalesce(j.index + 1, 0)) AS span
FROM orchestration o
LEFT JOIN LATERAL (SELECT index FROM job WHERE orchestration_id = o.id ORDER BY index DESC LIMIT 1) j ON true
WHERE o.pruning_at IS NOT NULL
ORDER BY o.pruning_at
LIMIT %(limit)s
