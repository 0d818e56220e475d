SELECT id, CAST(extract(epoch FROM statement_timestamp() - completed_at) AS float8) AS late
FROM orchestration
WHERE completed_at < statement_timestamp() - make_interval(secs => %(patience)s) AND event_published_at IS NULL
  AND event_refused IS NULL AND completed_at IS NOT NULL
ORDER BY completed_at
LIMIT %(limit)s
