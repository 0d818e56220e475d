"""Creating and reading orchestrations: what clients and operators ask for.

An idempotency key is decided by DO NOTHING and then read in a new statement.
"""

from sqlalchemy import text

CREATE = text("""
INSERT INTO orchestration (id, job_name, tags, total, deadline, idempotency_key, traceparent, completed_at, outcome)
VALUES (:id, :job_name, CAST(:tags AS jsonb), :total,
        statement_timestamp() + make_interval(secs => CAST(:deadline AS float8)), :idempotency_key, :traceparent,
        CASE WHEN :total = 0 THEN statement_timestamp() END, CASE WHEN :total = 0 THEN 'Completed' END)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
""")

BY_KEY = text("SELECT id, job_name, total FROM orchestration WHERE idempotency_key = :idempotency_key")

CREATE_JOBS = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, not_before)
SELECT i.id, :orchestration_id, i.index, :job_name, CAST(i.params AS json),
       coalesce(CAST(:start_at AS timestamptz), statement_timestamp() + make_interval(secs => :grace)),
       CAST(:start_at AS timestamptz)
FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS int[]), CAST(:params AS text[])) AS i (id, index, params)
RETURNING id, publish_at
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
