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

# Of an orchestration with a parallelism, all but the first jobs wait for a permit from the beginning: dated far ahead,
# and published when they have got one (see `limits`).
CREATE_JOBS = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, not_before, has_permits, waits_limit,
                 waits_key)
SELECT i.id, :orchestration_id, i.index, :job_name, CAST(i.params AS json),
       CASE WHEN f.goes THEN coalesce(s.start_at, s.now + make_interval(secs => :grace))
            ELSE coalesce(s.start_at, s.now) + interval '2 hours' END,
       CASE WHEN f.goes THEN s.start_at
            ELSE coalesce(s.start_at, s.now) + interval '2 hours' END,
       f.has_permits,
       CASE WHEN NOT f.goes THEN '*parallelism' END,
       CASE WHEN NOT f.goes THEN CAST(CAST(:orchestration_id AS uuid) AS text) END
FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS int[]), CAST(:params AS text[])) AS i (id, index, params)
CROSS JOIN (SELECT CAST(:start_at AS timestamptz) AS start_at, statement_timestamp() AS now) s
CROSS JOIN LATERAL (SELECT coalesce(i.index < CAST(:parallelism AS int), true) AS goes,
                           coalesce(i.index < CAST(:parallelism AS int), false) AS has_permits) f
RETURNING id, publish_at
""")

GIVE_FIRST_PERMITS = text("""
WITH made AS (
    INSERT INTO limit_key (limit_name, key, size)
    VALUES ('*parallelism', CAST(CAST(:id AS uuid) AS text), CAST(:parallelism AS int))
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
