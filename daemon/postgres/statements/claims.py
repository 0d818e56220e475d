"""Claiming: the statements of one claim transaction, in the order in which they run.

All of it leaves in one packet, COMMIT included, so nobody can look at an answer before it is committed: the two guards
stop it by themselves, each with an SQLSTATE of its own. REQUIRE_LIVE_WORKER locks the own worker row, so that a rescue
either sees the claim or waits for it. REGISTER_ORCHESTRATIONS comes before CLAIM_JOBS as a statement of its own,
because a row made in the same statement is not visible to it; it looks first, because ON CONFLICT alone would wait for
every settlement that is just counting in the same orchestration. CLAIM_JOBS takes free jobs that no limit bounds (see
`limits`) and never looks at the liveness of another worker: a sub-select on `worker` would use a snapshot that can be
older than the row it judges.
CLAIM_VIEWS comes after the COMMIT, with a newer snapshot: only what it positively reads is acked. LATERAL with LIMIT
finds rows one by one by their key, whatever the planner believes of the tables' sizes.
"""

from sqlalchemy import text

WORKER_GONE, WORKER_NOT_FRESH, ORCHESTRATION_PRUNED = "HC001", "HC002", "HC003"

REQUIRE_LIVE_WORKER = text("""
SELECT headcount_require(count(*) = 1, CASE WHEN EXISTS (SELECT FROM worker WHERE id = :me)
                                            THEN 'HC002' ELSE 'HC001' END),
       set_config('lock_timeout', :lock_timeout, true)
FROM (SELECT FROM worker
      WHERE id = :me AND seen_at > statement_timestamp() - make_interval(secs => :ttl / 2)
      FOR KEY SHARE) me
""")

# Whether a claim waited for the lock of one of its jobs: those whose row nobody else holds are not among these.
LOCKED_JOBS = text("""
WITH free AS MATERIALIZED (
    SELECT id FROM job WHERE id = ANY(CAST(:ids AS uuid[])) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT j.id FROM job j WHERE j.id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS (SELECT FROM free WHERE free.id = j.id)
""")

REGISTER_ORCHESTRATIONS = text("""
INSERT INTO orchestration (id, job_name, total, tags, traceparent)
SELECT i.id, i.job_name, i.total, CAST(i.tags AS jsonb), i.traceparent
FROM unnest(CAST(:ids AS uuid[]), CAST(:names AS text[]), CAST(:totals AS int[]), CAST(:tags AS text[]),
            CAST(:traceparents AS text[])) AS i (id, job_name, total, tags, traceparent)
WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = i.id)
ORDER BY i.id
ON CONFLICT (id) DO NOTHING
""")

CLAIM_JOBS = text("""
WITH input AS (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:tokens AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]),
        CAST(:counts AS int[]), CAST(:names AS text[]), CAST(:params AS text[]), CAST(:message_ids AS text[])
    ) AS i (id, token, orchestration_id, index, count, job_name, params, message_id)
), claimed AS (
    INSERT INTO job AS j (id, orchestration_id, index, job_name, params, attempt, worker_id, claim_token,
                          created_at, started_at, first_started_at, message_id)
    SELECT i.id, o.id, i.index, i.job_name, CAST(coalesce(i.params, '{}') AS json), 1, :me, i.token,
           statement_timestamp(), statement_timestamp(), statement_timestamp(), i.message_id
    FROM input i
    LEFT JOIN LATERAL (SELECT id, orchestration_id FROM job WHERE id = i.id LIMIT 1) t ON true
    CROSS JOIN LATERAL (SELECT * FROM orchestration
                        WHERE id = coalesce(t.orchestration_id, i.orchestration_id) LIMIT 1) o
    LEFT JOIN LATERAL (SELECT id FROM job WHERE orchestration_id = o.id AND index = i.index LIMIT 1) x ON true
    WHERE o.cancelled_at IS NULL AND o.pruning_at IS NULL
      AND (o.deadline IS NULL OR o.deadline > statement_timestamp())
      AND o.parallelism IS NULL AND o.job_name <> ALL(ARRAY(SELECT job_name FROM paused_job))
      AND CASE WHEN t.id IS NOT NULL THEN i.params IS NULL OR t.orchestration_id = i.orchestration_id
               ELSE i.params IS NOT NULL AND i.index < o.total AND i.job_name = o.job_name
                    AND (i.count IS NULL OR i.count = o.total)
                    AND x.id IS NULL
          END
    ORDER BY i.id
    ON CONFLICT (id) DO UPDATE
    SET attempt = j.attempt + 1, worker_id = excluded.worker_id, claim_token = excluded.claim_token,
        publish_at = NULL, not_before = NULL, waits_limit = NULL, waits_key = NULL,
        dead_letters = 0,
        started_at = excluded.started_at, message_id = excluded.message_id,
        first_started_at = coalesce(j.first_started_at, excluded.started_at)
    WHERE j.status = 'InProgress' AND j.worker_id IS NULL AND j.occupied_by IS NULL
      AND (j.not_before IS NULL OR j.not_before <= statement_timestamp())
      AND j.job_name <> ALL(CAST(:limited AS text[]))
    RETURNING j.id, j.orchestration_id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause,
              CASE WHEN j.attempt = 1 AND j.created_at = j.started_at THEN NULL ELSE j.params END AS params,
              j.checkpoint, j.created_at, j.first_started_at
)
SELECT c.id, c.orchestration_id, c.index, c.job_name, c.attempt, c.failures, c.losses, c.cause,
       CAST(c.params AS text) AS params, CAST(c.checkpoint AS text) AS checkpoint,
       CAST(extract(epoch FROM statement_timestamp() - c.created_at) AS float8) AS age,
       CAST(extract(epoch FROM statement_timestamp() - c.first_started_at) AS float8) AS since_first_start,
       o.total, nullif(o.tags, '{}') AS tags, o.traceparent,
       CAST(extract(epoch FROM o.deadline - statement_timestamp()) AS float8) AS deadline_in
FROM claimed c CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = c.orchestration_id LIMIT 1) o
""")

# A job that was pruned while CLAIM_JOBS waited for its row is made anew by ON CONFLICT, from a snapshot in which its
# orchestration was still there. Nothing else makes a job without one.
REQUIRE_ORCHESTRATIONS = text("""
SELECT headcount_require(count(*) = 0, 'HC003')
FROM (SELECT FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS uuid[])) AS i (id, token)
      CROSS JOIN LATERAL (SELECT orchestration_id FROM job WHERE id = i.id AND claim_token = i.token LIMIT 1) j
      WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = j.orchestration_id AND o.pruning_at IS NULL)
      LIMIT 1) orphan
""")

CLAIM_VIEWS = text("""
SELECT i.id, j.id IS NOT NULL AS exists, j.status, j.worker_id, j.claim_token, j.message_id,
       coalesce(j.not_before > statement_timestamp(), false) OR j.occupied_by IS NOT NULL AS early,
       j.waits_limit IS NOT NULL AS limited,
       coalesce(i.carries_params AND j.orchestration_id <> i.orchestration_id, false) AS elsewhere,
       o.id IS NOT NULL AS registered, o.total AS registered_total, o.job_name AS registered_name,
       o.cancelled_at IS NOT NULL OR coalesce(o.deadline <= statement_timestamp(), false) AS closing,
       o.pruning_at IS NOT NULL AS pruning,
       x.id AS taken_by, x.status AS taken_status, x.attempt AS taken_attempt,
       o.id = i.orchestration_id AND CAST(coalesce(j.params, x.params) AS text) = 'null' AS lacks_params,
       j.orchestration_id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause,
       CAST(j.params AS text) AS params, CAST(j.checkpoint AS text) AS checkpoint,
       CAST(extract(epoch FROM statement_timestamp() - j.created_at) AS float8) AS age,
       CAST(extract(epoch FROM statement_timestamp() - j.first_started_at) AS float8) AS since_first_start,
       o.total, nullif(o.tags, '{}') AS tags, o.traceparent,
       CAST(extract(epoch FROM o.deadline - statement_timestamp()) AS float8) AS deadline_in
FROM unnest(CAST(:ids AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]),
            CAST(:carries_params AS bool[])) AS i (id, orchestration_id, index, carries_params)
LEFT JOIN job j ON j.id = i.id
LEFT JOIN orchestration o ON o.id = coalesce(j.orchestration_id, i.orchestration_id)
LEFT JOIN job x ON j.id IS NULL AND x.orchestration_id = i.orchestration_id AND x.index = i.index
""")

# The message of an instance that was ended before it came: its params are kept, so that a retry can run it. A row that
# does not come back was finished when it was read and is not any more: a retry deleted it, to be made by this message.
FILL_IN_PARAMS = text("""
UPDATE job j SET params = CAST(i.params AS json)
FROM unnest(CAST(:ids AS uuid[]), CAST(:params AS text[])) AS i (id, params)
WHERE j.id = i.id AND CAST(j.params AS text) = 'null'
RETURNING j.id
""")

# At most 20 rows a job. The lock that the reference to the job takes is taken first, by id, so that a job which is
# pruned meanwhile has no row here, and neither an error.
INSERT_REDELIVERIES = text("""
WITH input AS MATERIALIZED (
    SELECT i.*, row_number() OVER (PARTITION BY i.job_id ORDER BY i.ordinal) AS copy
    FROM unnest(CAST(:job_ids AS uuid[]), CAST(:causes AS text[]), CAST(:message_ids AS text[]))
         WITH ORDINALITY AS i (job_id, cause, message_id, ordinal)
)
INSERT INTO redelivery (job_id, cause, message_id, worker_id)
SELECT i.job_id, i.cause, i.message_id, :me
FROM (SELECT * FROM input WHERE copy <= 20 ORDER BY job_id, copy) i
CROSS JOIN LATERAL (SELECT count(*) AS kept FROM (SELECT FROM redelivery WHERE job_id = i.job_id LIMIT 20) r) r
CROSS JOIN LATERAL (SELECT FROM job j WHERE j.id = i.job_id AND r.kept + i.copy <= 20 FOR KEY SHARE) j
""")
