"""Creating and reading orchestrations: what clients and operators ask for.

An idempotency key is decided by DO NOTHING and then read in a new statement.
"""

from sqlalchemy import text

CREATE = text("""
INSERT INTO orchestration (id, job_name, tags, total, deadline, idempotency_key, traceparent, parallelism,
                           completed_at, outcome)
VALUES (:id, :job_name, CAST(:tags AS jsonb), :total,
        statement_timestamp() + make_interval(secs => CAST(:deadline AS float8)), :idempotency_key, :traceparent,
        :parallelism,
        CASE WHEN :total = 0 THEN statement_timestamp() END, CASE WHEN :total = 0 THEN 'Completed' END)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
""")

BY_KEY = text("SELECT id, job_name, total FROM orchestration WHERE idempotency_key = :idempotency_key")

LIMITS = text("""
SELECT CAST(limits AS text) FROM handler WHERE name = :job_name ORDER BY last_started_at DESC, revision LIMIT 1
""")

# Jobs that would wait for a limit do so from the beginning: dated far ahead, and published when it is their turn (see
# `limits`). Those are all but the first of an orchestration with a parallelism, all of a key of a Limit that has not
# room for them, and all of a Rate, whose starts are given out by the second.
CREATE_JOBS = text("""
WITH input AS MATERIALIZED (
    SELECT i.id, i.index, CAST(i.params AS json) AS params, CAST(:start_at AS timestamptz) AS start_at,
           CAST(:parallelism AS int) AS parallelism
    FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS int[]), CAST(:params AS text[])) AS i (id, index, params)
), held AS MATERIALIZED (
    (SELECT DISTINCT ON (n.id) n.id, n.limit_name, n.key, n.size, n.period
    FROM (
        SELECT i.id, r.limit_name, r.key, r.size, r.period,
               count(*) OVER (PARTITION BY r.limit_name, r.key) AS jobs
        FROM input i CROSS JOIN LATERAL (
            SELECT limit_name, size, period,
                   headcount_limit_key(source, field, CAST(:tags AS jsonb), i.params) AS key
            FROM json_to_recordset(CAST(:limits AS json))
                 AS l (limit_name text, source text, field text, size int, period float8)
        ) r
    ) n
    WHERE n.period IS NOT NULL OR n.jobs > n.size
    ORDER BY n.id, n.limit_name COLLATE "C")
    UNION ALL
    SELECT id, '*parallelism', CAST(CAST(:orchestration_id AS uuid) AS text), parallelism, NULL
    FROM input WHERE index >= parallelism
), keys AS (
    INSERT INTO limit_key (limit_name, key, size, period)
    SELECT limit_name, key, min(size), max(period) FROM held GROUP BY limit_name, key ORDER BY limit_name, key
    ON CONFLICT (limit_name, key) DO NOTHING
)
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, not_before, has_permits, waits_limit,
                 waits_key)
SELECT i.id, :orchestration_id, i.index, :job_name, i.params,
       CASE WHEN h.id IS NOT NULL THEN d.later
            ELSE coalesce(i.start_at, statement_timestamp() + make_interval(secs => :grace)) END,
       CASE WHEN h.id IS NOT NULL THEN d.later ELSE i.start_at END,
       coalesce(i.index < i.parallelism, false), h.limit_name, h.key
FROM input i LEFT JOIN held h ON h.id = i.id
CROSS JOIN LATERAL (SELECT coalesce(i.start_at, statement_timestamp()) + interval '2 hours' AS later) d
RETURNING id, publish_at, waits_limit
""")

GIVE_FIRST_PERMITS = text("""
WITH made AS (
    INSERT INTO limit_key (limit_name, key, size)
    VALUES ('*parallelism', CAST(CAST(:id AS uuid) AS text), CAST(:parallelism AS int))
    ON CONFLICT (limit_name, key) DO NOTHING
)
INSERT INTO permit (job_id, limit_name, key)
SELECT id, '*parallelism', CAST(orchestration_id AS text)
FROM job WHERE orchestration_id = :id AND index < CAST(:parallelism AS int)
""")

STATE = text("""
SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at, o.event_refused,
       CASE WHEN o.completed_at IS NULL
            THEN (SELECT count(*) FROM job j WHERE j.orchestration_id = o.id AND j.worker_id IS NOT NULL)
            ELSE 0 END AS running
FROM orchestration o WHERE o.id = :id
""")

OUTCOMES = text("""
SELECT id, index, finish_number, status, CAST(params AS text) AS params, CAST(result AS text) AS result, error,
       attempt, failures
FROM job
WHERE orchestration_id = :id AND finish_number > :after
  AND (CAST(:status AS text) IS NULL OR status = CAST(:status AS text))
ORDER BY finish_number
LIMIT :limit
""")

RUNNING = text("""
SELECT id, index, progress_current, progress_total, progress_message
FROM job WHERE orchestration_id = :id AND worker_id IS NOT NULL ORDER BY started_at LIMIT :limit
""")
