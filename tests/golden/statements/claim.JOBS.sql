WITH input AS (
    SELECT * FROM unnest(
        CAST(%(ids)s AS uuid[]), CAST(%(orchestration_ids)s AS uuid[]), CAST(%(indexes)s AS int[]), CAST(%(counts)s AS int[]),
        CAST(%(names)s AS text[]), CAST(%(params)s AS text[]), CAST(%(creates)s AS bool[]), CAST(%(message_ids)s AS text[])
    ) AS i (id, orchestration_id, index, count, job_name, params, creates, message_id)
), claimed AS (
    INSERT INTO job AS j (id, orchestration_id, index, job_name, params, attempt, worker_id, claim_token,
                          created_at, started_at, message_id)
    SELECT i.id, o.id, i.index, i.job_name, CAST(coalesce(i.params, '{}') AS json), 1, %(me)s, %(token)s,
           statement_timestamp(), statement_timestamp(), i.message_id
    FROM input i
    LEFT JOIN LATERAL (SELECT id, orchestration_id FROM job WHERE id = i.id LIMIT 1) t ON true
    CROSS JOIN LATERAL (SELECT * FROM orchestration
                        WHERE id = coalesce(t.orchestration_id, i.orchestration_id) LIMIT 1) o
    LEFT JOIN LATERAL (SELECT id FROM job WHERE orchestration_id = o.id AND index = i.index LIMIT 1) x ON true
    WHERE o.cancelled_at IS NULL AND o.pruning_at IS NULL
      AND (o.deadline IS NULL OR o.deadline > statement_timestamp())
      AND CASE WHEN t.id IS NOT NULL THEN NOT i.creates OR t.orchestration_id = i.orchestration_id
               ELSE i.creates AND i.index < o.total AND i.job_name = o.job_name
                    AND (i.count IS NULL OR i.count = o.total)
                    AND x.id IS NULL
          END
    ORDER BY i.id
    ON CONFLICT (id) DO UPDATE
    SET attempt = j.attempt + 1, worker_id = excluded.worker_id, claim_token = excluded.claim_token,
        publish_at = NULL, not_before = NULL,
        dead_letters = 0,
        started_at = excluded.started_at, message_id = excluded.message_id
    WHERE j.status = 'InProgress' AND j.worker_id IS NULL AND j.occupied_by IS NULL
      AND (j.not_before IS NULL OR j.not_before <= statement_timestamp())
    RETURNING j.id, j.orchestration_id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause,
              CASE WHEN j.attempt = 1 AND j.created_at = j.started_at THEN NULL ELSE j.params END AS params,
              j.checkpoint, j.created_at
)
SELECT c.id, c.orchestration_id, c.index, c.job_name, c.attempt, c.failures, c.losses, c.cause,
       CAST(c.params AS text) AS params, CAST(c.checkpoint AS text) AS checkpoint,
       CAST(extract(epoch FROM statement_timestamp() - c.created_at) AS float8) AS age,
       o.total, nullif(o.tags, '{}') AS tags, o.traceparent,
       CAST(extract(epoch FROM o.deadline - statement_timestamp()) AS float8) AS deadline_in
FROM claimed c CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = c.orchestration_id LIMIT 1) o
