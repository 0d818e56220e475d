SELECT i.id, j.id IS NOT NULL AS born, j.status, j.worker_id, j.claim_token, j.message_id,
       j.not_before > statement_timestamp() OR j.occupied_by IS NOT NULL AS early,
       i.creates AND j.orchestration_id <> i.orchestration_id AS elsewhere,
       o.id IS NOT NULL AS registered, o.total AS registered_total, o.job_name AS registered_name,
       (o.cancelled_at IS NOT NULL OR coalesce(o.deadline <= statement_timestamp(), false)) AS closing,
       o.pruning_at IS NOT NULL AS pruning,
       x.id AS taken_by, x.status AS taken_status, x.attempt AS taken_attempt,
       o.id = i.orchestration_id AND CAST(coalesce(j.params, x.params) AS text) = 'null' AS lacks_params,
       j.orchestration_id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause,
       CAST(j.params AS text) AS params, CAST(j.checkpoint AS text) AS checkpoint,
       CAST(extract(epoch FROM statement_timestamp() - j.created_at) AS float8) AS age,
       o.total, nullif(o.tags, '{}') AS tags, o.traceparent,
       CAST(extract(epoch FROM o.deadline - statement_timestamp()) AS float8) AS deadline_in
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(orchestration_ids)s AS uuid[]), CAST(%(indexes)s AS int[]),
            CAST(%(creates)s AS bool[])) AS i (id, orchestration_id, index, creates)
LEFT JOIN job j ON j.id = i.id
LEFT JOIN orchestration o ON o.id = coalesce(j.orchestration_id, i.orchestration_id)
LEFT JOIN job x ON j.id IS NULL AND x.orchestration_id = i.orchestration_id AND x.index = i.index
