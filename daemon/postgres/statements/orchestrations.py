"""Making, ending and reading orchestrations: what clients and operators ask for.

An idempotency key is decided by DO NOTHING and then read in a new statement. Ending from outside (cancel, deadline)
first marks the orchestration in a transaction of its own, so that claims stop making jobs; then BORN_TO_END makes the
missing instances, which waits for every claim that is making one; then the unfinished ones are settled. An instance
whose message never came has the params `null`, which no producer can give it.
"""

from sqlalchemy import text

MAKE = text("""
INSERT INTO orchestration (id, job_name, tags, total, deadline, idempotency_key, traceparent, completed_at, outcome)
VALUES (:id, :job_name, CAST(:tags AS jsonb), :total,
        statement_timestamp() + make_interval(secs => CAST(:deadline AS float8)), :idempotency_key, :traceparent,
        CASE WHEN :total = 0 THEN statement_timestamp() END, CASE WHEN :total = 0 THEN 'Completed' END)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
""")

BY_KEY = text("SELECT id, job_name, total FROM orchestration WHERE idempotency_key = :idempotency_key")

MAKE_JOBS = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, not_before)
SELECT i.id, :orchestration_id, i.index, :job_name, CAST(i.params AS json),
       coalesce(CAST(:start_at AS timestamptz), statement_timestamp() + make_interval(secs => :grace)),
       CAST(:start_at AS timestamptz)
FROM unnest(CAST(:ids AS uuid[]), CAST(:indexes AS int[]), CAST(:params AS text[])) AS i (id, index, params)
RETURNING id, publish_at
""")

STATE = text("""
SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at,
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

MARK_CANCELLED = text("""
UPDATE orchestration SET cancelled_at = coalesce(cancelled_at, statement_timestamp())
WHERE id = :id AND completed_at IS NULL
RETURNING id
""")

CANCELLED = text("SELECT count(*) FROM job WHERE orchestration_id = :id AND error ->> 'kind' = 'Cancelled'")

DEADLINES_PASSED = text("""
SELECT id FROM orchestration
WHERE completed_at IS NULL AND deadline <= statement_timestamp()
ORDER BY deadline LIMIT 20
""")

CANCELS_UNFINISHED = text("""
SELECT id FROM orchestration WHERE completed_at IS NULL AND cancelled_at IS NOT NULL ORDER BY created_at LIMIT 20
""")

MISSING = text("""
SELECT place.index, o.job_name
FROM orchestration o
CROSS JOIN LATERAL generate_series(0, o.total - 1) AS place (index)
LEFT JOIN job j ON j.orchestration_id = o.id AND j.index = place.index
WHERE o.id = :id AND j.id IS NULL
LIMIT 5000
""")

BORN_TO_END = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)
SELECT i.id, i.orchestration_id, i.index, i.job_name, CAST(i.params AS json),
       statement_timestamp() + interval '1 minute'
FROM unnest(CAST(:ids AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]), CAST(:names AS text[]),
            CAST(:params AS text[])) AS i (id, orchestration_id, index, job_name, params)
JOIN orchestration o ON o.id = i.orchestration_id AND i.index < o.total
ORDER BY i.id
ON CONFLICT DO NOTHING
RETURNING id
""")

UNFINISHED = text("""
SELECT id, worker_id, attempt FROM job
WHERE orchestration_id = :id AND status = 'InProgress' ORDER BY id LIMIT 5000
""")

UNFINISHED_JOBS = text("""
SELECT id, worker_id, attempt FROM job WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'InProgress' ORDER BY id
""")

KNOWN_JOBS = text("SELECT id FROM job WHERE id = ANY(CAST(:ids AS uuid[]))")

REOPEN_LOCK = text("""
SELECT generation, completed_at IS NOT NULL AS complete, event_published_at IS NOT NULL AS published, errored
FROM orchestration WHERE id = :id FOR NO KEY UPDATE
""")

# What was ended before its message came is unborn again, and runs when the message comes. A message that was rejected
# does not come by itself: its instance stays as it is.
UNBEAR = text("""
DELETE FROM job
WHERE orchestration_id = :id AND status = 'Errored' AND CAST(params AS text) = 'null'
  AND error ->> 'kind' <> 'Rejected'
RETURNING id
""")

REOPEN_JOBS = text("""
WITH failed AS MATERIALIZED (
    SELECT id FROM job
    WHERE orchestration_id = :id AND status = 'Errored' AND CAST(params AS text) <> 'null'
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE job j
SET status = 'InProgress', attempt = j.attempt + 1, failures = 0, losses = 0, finish_number = NULL, finished_at = NULL,
    error = NULL, cause = 'operator', publish_at = statement_timestamp()
FROM failed WHERE j.id = failed.id
RETURNING j.id
""")

REOPEN = text("""
UPDATE orchestration
SET errored = errored - :reopened, completed_at = NULL, outcome = NULL, event_published_at = NULL,
    cancelled_at = NULL, deadline = CASE WHEN deadline > statement_timestamp() THEN deadline END,
    generation = generation + 1
WHERE id = :id
RETURNING generation
""")

# FOR UPDATE looks again at a row that it waited for: one that was just opened for a retry is not finished any more.
DELETE_FINISHED = text("""
WITH old AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE completed_at < statement_timestamp() - make_interval(secs => :older_than)
      AND event_published_at IS NOT NULL
    ORDER BY completed_at LIMIT 500
    FOR UPDATE
), jobs AS (
    DELETE FROM job WHERE orchestration_id = ANY(ARRAY(SELECT id FROM old))
)
DELETE FROM orchestration WHERE id = ANY(ARRAY(SELECT id FROM old))
RETURNING id
""")
