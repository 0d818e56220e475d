SELECT id, generation, reopening_finishes AS finishes
FROM orchestration
WHERE reopening_at < statement_timestamp() - make_interval(secs => %(patience)s)
ORDER BY reopening_at LIMIT 20
