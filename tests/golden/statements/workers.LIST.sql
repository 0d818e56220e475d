SELECT id, host, revision, pool, slots, running, started_at, draining_at,
       CAST(extract(epoch FROM statement_timestamp() - seen_at) AS float8) AS heartbeat_age,
       (SELECT count(*) FROM job j WHERE j.worker_id = worker.id) AS holds
FROM worker ORDER BY started_at
