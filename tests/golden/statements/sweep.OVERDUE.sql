SELECT id, CAST(extract(epoch FROM statement_timestamp() - publish_at) AS float8) AS late
FROM job
WHERE publish_at < statement_timestamp() - make_interval(secs => %(patience)s)
ORDER BY publish_at
LIMIT %(limit)s
