"""Why something is not finished: verdicts about unfinished jobs, read in one statement with their holders.

Used by `headcount explain`. The verdict is a CASE over one snapshot, so that counts and examples agree.
"""

from sqlalchemy import text

VERDICTS = text("""
WITH fleet AS (
    SELECT count(*) AS fresh FROM worker WHERE seen_at > statement_timestamp() - make_interval(secs => :ttl)
), judged AS (
    SELECT j.id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause, j.publishes, j.worker_id,
           j.progress_current, j.progress_total, j.progress_message, w.host,
           CAST(extract(epoch FROM statement_timestamp() - w.seen_at) AS float8) AS heartbeat_age,
           CAST(extract(epoch FROM statement_timestamp() - j.started_at) AS float8) AS started_ago,
           CAST(extract(epoch FROM statement_timestamp() - j.progress_at) AS float8) AS progress_ago,
           CAST(extract(epoch FROM statement_timestamp() - j.published_at) AS float8) AS published_ago,
           CAST(extract(epoch FROM j.publish_at - statement_timestamp()) AS float8) AS publish_in,
           f.kind AS last_kind, f.message AS last_message, j.waits_limit, j.waits_key, j.created_at,
           CASE WHEN j.worker_id IS NOT NULL AND w.seen_at > statement_timestamp() - make_interval(secs => :ttl)
                THEN 'RUNNING'
                WHEN j.worker_id IS NOT NULL THEN 'HELD_BY_DEAD_WORKER'
                WHEN j.attempt > 0 AND f.kind = 'UnknownJob' AND f.attempt = j.attempt
                     AND j.worker_id IS NULL THEN 'UNKNOWN_JOB'
                WHEN EXISTS (SELECT FROM paused_job p WHERE p.job_name = j.job_name) THEN 'PAUSED'
                WHEN j.waits_limit IS NOT NULL THEN 'WAITING_LIMIT'
                WHEN j.not_before > statement_timestamp() AND j.attempt > 0 THEN 'WAITING_RETRY'
                WHEN j.not_before > statement_timestamp() THEN 'WAITING_START'
                WHEN fleet.fresh = 0 THEN 'QUEUED_NO_WORKER'
                WHEN j.published_at IS NULL AND j.publishes > 0 THEN 'MESSAGE_REFUSED'
                WHEN j.publish_at <= statement_timestamp() THEN 'PUBLICATION_DUE'
                ELSE 'MESSAGE_OUTSTANDING' END AS verdict
    FROM job j
    CROSS JOIN fleet
    LEFT JOIN worker w ON w.id = j.worker_id
    LEFT JOIN LATERAL (SELECT kind, message, attempt FROM failed_attempt f WHERE f.job_id = j.id
                       ORDER BY f.attempt DESC LIMIT 1) f ON true
    WHERE j.status = 'InProgress'
      AND (j.orchestration_id = :orchestration_id OR j.id = :job_id)
)
SELECT numbered.*, l.limit_size, l.limit_period, l.limit_used, l.limit_place, l.limit_holders
FROM (SELECT *, count(*) OVER (PARTITION BY verdict) AS alike,
             row_number() OVER (PARTITION BY verdict ORDER BY index) AS number FROM judged) numbered
LEFT JOIN LATERAL (
    SELECT k.size AS limit_size, k.period AS limit_period,
           (SELECT count(*) FROM permit p WHERE p.limit_name = k.limit_name AND p.key = k.key) AS limit_used,
           (SELECT count(*) FROM job w
            WHERE w.waits_limit IS NOT NULL AND w.worker_id IS NULL AND w.status = 'InProgress'
              AND w.waits_limit = k.limit_name AND w.waits_key = k.key AND w.created_at <= numbered.created_at
           ) AS limit_place,
           ARRAY(SELECT job_id FROM permit p WHERE p.limit_name = k.limit_name AND p.key = k.key
                 ORDER BY given_at LIMIT :examples) AS limit_holders
    FROM limit_key k
    WHERE numbered.verdict = 'WAITING_LIMIT' AND k.limit_name = numbered.waits_limit AND k.key = numbered.waits_key
    LIMIT 1
) l ON true
WHERE number <= :examples
ORDER BY verdict, index
""")

REGISTERED = text("SELECT count(*) AS registered FROM job WHERE orchestration_id = :id")

# Messages that named this orchestration and did not become jobs of it, the newest first.
REJECTED = text("""
SELECT id, reason, text, count(*) OVER () AS alike
FROM rejected_message
WHERE orchestration_id = :id AND replayed_at IS NULL
ORDER BY id DESC LIMIT :examples
""")

JOB = text("""
SELECT id, orchestration_id, index, job_name, status, attempt, failures, losses, cause, publishes, created_at,
       started_at, finished_at, progress_current, progress_total, progress_message,
       CAST(params AS text) AS params, CAST(result AS text) AS result, error
FROM job WHERE id = :id
""")

HISTORY = text("""
SELECT attempt, worker_id, started_at, ended_at, kind, message, traceback
FROM failed_attempt WHERE job_id = :id ORDER BY attempt
""")

REDELIVERIES = text("""
SELECT cause, message_id, worker_id, received_at FROM redelivery WHERE job_id = :id ORDER BY id
""")

STEPS = text("""
SELECT name, number, attempt, kind, created_at FROM durable_step WHERE job_id = :id ORDER BY number, name
""")
