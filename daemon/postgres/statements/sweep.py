"""Checking the invariants against the rows: read-only for `headcount verify`, with a repair for the sweeper.

Each check is one statement, so it sees one snapshot: what it lists is broken, not merely in motion. Nothing here is
needed for jobs to end: every repair is a bug found, and is kept in the table `repair`.
"""

from sqlalchemy import text

TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key) AS mine")

COUNTERS = text("""
SELECT o.id, o.total, o.completed, o.errored, o.completed_at IS NOT NULL AS complete,
       r.completed AS rows_completed, r.errored AS rows_errored, r.total AS rows_total
FROM orchestration o
CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(*) FILTER (WHERE j.status = 'Completed') AS completed,
           count(*) FILTER (WHERE j.status = 'Errored') AS errored
    FROM job j WHERE j.orchestration_id = o.id
) r
WHERE (o.completed_at IS NULL OR o.completed_at > statement_timestamp() - make_interval(secs => :since))
  AND o.pruning_at IS NULL
  AND (o.completed <> r.completed OR o.errored <> r.errored
       OR (o.completed_at IS NOT NULL AND r.total <> o.total))
ORDER BY o.id
LIMIT :limit
""")

LOCK_ORCHESTRATION = text("SELECT total FROM orchestration WHERE id = :id FOR NO KEY UPDATE")

RECOUNT = text("""
UPDATE orchestration o
SET completed = r.completed, errored = r.errored, finishes = greatest(o.finishes, r.last),
    completed_at = CASE WHEN r.completed + r.errored = o.total AND o.reopening_at IS NULL
                        THEN coalesce(o.completed_at, statement_timestamp()) END,
    outcome = CASE WHEN r.completed + r.errored < o.total OR o.reopening_at IS NOT NULL THEN NULL
                   WHEN r.errored = 0 THEN 'Completed'
                   WHEN r.completed = 0 THEN 'Errored' ELSE 'Partial' END,
    event_published_at = CASE WHEN r.completed + r.errored = o.total AND o.reopening_at IS NULL
                              THEN o.event_published_at END
FROM (SELECT count(*) FILTER (WHERE status = 'Completed') AS completed,
             count(*) FILTER (WHERE status = 'Errored') AS errored, coalesce(max(finish_number), 0) AS last
      FROM job WHERE orchestration_id = :id) r
WHERE o.id = :id AND o.pruning_at IS NULL AND (o.completed <> r.completed OR o.errored <> r.errored)
RETURNING o.id
""")

RECORD = text("""
INSERT INTO repair (cause, orchestration_id, detail) VALUES (:cause, :orchestration_id, :detail)
""")

DEAD_CLAIMANTS = text("""
SELECT j.worker_id AS id, count(*) AS jobs
FROM job j LEFT JOIN worker w ON w.id = j.worker_id
WHERE j.worker_id IS NOT NULL
  AND (w.id IS NULL OR w.seen_at < statement_timestamp() - make_interval(secs => 2 * :ttl))
GROUP BY j.worker_id
ORDER BY j.worker_id
LIMIT :limit
""")

OVERDUE_JOBS = text("""
SELECT id, CAST(extract(epoch FROM statement_timestamp() - publish_at) AS float8) AS late
FROM job
WHERE publish_at < statement_timestamp() - make_interval(secs => :late_after)
ORDER BY publish_at
LIMIT :limit
""")

OVERDUE_EVENTS = text("""
SELECT id, CAST(extract(epoch FROM statement_timestamp() - completed_at) AS float8) AS late
FROM orchestration
WHERE completed_at < statement_timestamp() - make_interval(secs => :late_after) AND event_published_at IS NULL
  AND event_refused IS NULL AND completed_at IS NOT NULL
ORDER BY completed_at
LIMIT :limit
""")

UNCLOSED = text("""
SELECT id, cancelled_at IS NOT NULL AS cancelled
FROM orchestration
WHERE completed_at IS NULL
  AND (cancelled_at < statement_timestamp() - make_interval(secs => :late_after)
       OR deadline < statement_timestamp() - make_interval(secs => :late_after))
ORDER BY created_at
LIMIT :limit
""")

FINISH_NUMBERS = text("""
SELECT o.id, o.finishes, r.last, r.finished
FROM orchestration o
CROSS JOIN LATERAL (SELECT coalesce(max(finish_number), 0) AS last, count(finish_number) AS finished
                    FROM job j WHERE j.orchestration_id = o.id) r
WHERE o.generation = 1 AND o.pruning_at IS NULL AND (o.completed_at IS NULL OR o.completed_at > statement_timestamp()
                            - make_interval(secs => :since))
  AND (o.finishes <> r.last OR r.finished <> r.last)
ORDER BY o.id
LIMIT :limit
""")

# From one orchestration's id to the next along the index: a claim and a kick-off make both in one transaction, so a job
# without an orchestration is never on its way.
ORPHANS = text("""
WITH RECURSIVE owner AS (
    (SELECT orchestration_id FROM job WHERE orchestration_id >= '00000000-0000-0000-0000-000000000000'
     ORDER BY orchestration_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.orchestration_id FROM job j WHERE j.orchestration_id > p.orchestration_id
            ORDER BY j.orchestration_id LIMIT 1)
    FROM owner p WHERE p.orchestration_id IS NOT NULL
)
SELECT p.orchestration_id AS id, r.jobs, r.unfinished
FROM owner p
LEFT JOIN LATERAL (SELECT id FROM orchestration WHERE id = p.orchestration_id LIMIT 1) o ON true
CROSS JOIN LATERAL (SELECT count(*) AS jobs, count(*) FILTER (WHERE j.status = 'InProgress') AS unfinished
                    FROM job j WHERE j.orchestration_id = p.orchestration_id AND o.id IS NULL) r
WHERE p.orchestration_id IS NOT NULL AND o.id IS NULL
LIMIT :limit
""")

# A permit belongs to a job that runs, that still occupies a worker, or that was woken and has not been claimed yet.
IDLE_PERMITS = text("""
SELECT p.job_id AS id, p.limit_name, p.key
FROM permit p JOIN job j ON j.id = p.job_id
WHERE NOT (j.has_permits AND (j.occupied_by IS NOT NULL OR j.status = 'InProgress' AND j.waits_limit IS NULL))
ORDER BY p.job_id
LIMIT :limit
""")

# Page by page would need a cursor: steps are few beside jobs, and of each job only the newest attempt is compared.
STEPS = text("""
SELECT s.job_id AS id, s.name, s.attempt, j.attempt AS current
FROM durable_step s JOIN job j ON j.id = s.job_id
WHERE s.attempt > j.attempt
ORDER BY s.job_id
LIMIT :limit
""")

CONSTRAINTS = text("""
SELECT name AS id FROM unnest(ARRAY['job_has_a_future', 'job_is_over', 'job_has_a_place', 'job_dates', 'job_place',
                                    'orchestration_counts', 'orchestration_complete', 'orchestration_outcome',
                                    'orchestration_event']) AS name
WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = name AND c.convalidated)
LIMIT :limit
""")
