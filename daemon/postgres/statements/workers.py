"""Workers: registration, heartbeat, claimed jobs, rescue of the jobs of dead ones, and deregistration.

A heartbeat is an UPDATE and never re-creates the row: a worker whose row is gone was declared dead. `regular_since`
restarts after a gap, so that nobody judges others right after an outage; the judging statement itself requires it.
"""

from sqlalchemy import text

REGISTER = text("""
INSERT INTO worker (id, host, revision, slots, pool) VALUES (:me, :host, :revision, :slots, :pool)
""")

HEARTBEAT = text("""
UPDATE worker
SET seen_at = statement_timestamp(),
    regular_since = CASE WHEN statement_timestamp() - seen_at > make_interval(secs => :gap)
                         THEN statement_timestamp() ELSE regular_since END,
    running = :running,
    draining_at = CASE WHEN :draining THEN coalesce(draining_at, statement_timestamp()) ELSE draining_at END
WHERE id = :me
RETURNING id
""")

CLAIMED_JOBS = text("""
SELECT id, attempt, true AS claimed FROM job WHERE worker_id = :me AND status = 'InProgress'
UNION ALL
SELECT id, attempt, false FROM job WHERE occupied_by = :me
""")

# The handlers of jobs that were ended from outside have ended too, or their worker has. One that was reopened meanwhile
# is due now, or when a thread that still runs must have ended with its process.
VACATE = text("""
WITH over AS MATERIALIZED (
    SELECT id FROM job
    WHERE occupied_by = ANY(CAST(:workers AS uuid[])) AND (:all OR id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id
    FOR NO KEY UPDATE
), released AS (
    DELETE FROM permit p USING over WHERE p.job_id = over.id
)
UPDATE job j
SET occupied_by = NULL, has_permits = false,
    not_before = CASE WHEN j.status = 'InProgress' AND j.worker_id IS NULL AND :delay > 0
                      THEN statement_timestamp() + make_interval(secs => :delay) ELSE j.not_before END,
    publish_at = CASE WHEN j.status = 'InProgress' AND j.worker_id IS NULL
                      THEN greatest(statement_timestamp() + make_interval(secs => :delay), j.not_before)
                      ELSE j.publish_at END
FROM over WHERE j.id = over.id
""")

LOST_CLAIMANTS = text("""
WITH RECURSIVE holder AS (
    (SELECT worker_id FROM job WHERE worker_id IS NOT NULL ORDER BY worker_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.worker_id FROM job j WHERE j.worker_id > h.worker_id ORDER BY j.worker_id LIMIT 1)
    FROM holder h WHERE h.worker_id IS NOT NULL
)
SELECT h.worker_id, w.id IS NULL AS missing
FROM (SELECT worker_id FROM holder UNION SELECT occupied_by FROM job WHERE occupied_by IS NOT NULL) h
LEFT JOIN worker w ON w.id = h.worker_id
WHERE h.worker_id IS NOT NULL
  AND (w.id IS NULL OR w.seen_at < statement_timestamp() - make_interval(secs => :ttl))
""")

STALE = text("""
SELECT id FROM worker WHERE seen_at < statement_timestamp() - make_interval(secs => :ttl)
""")

REGULAR = text("""
SELECT 1 FROM worker
WHERE id = :me AND seen_at > statement_timestamp() - make_interval(secs => :gap)
  AND regular_since <= statement_timestamp() - make_interval(secs => :ttl)
FOR KEY SHARE
""")

# A row that a stuck transaction holds (its own last claim, or another rescue) is left for a later round.
DELETE_DEAD = text("""
WITH dead AS MATERIALIZED (
    SELECT w.id
    FROM worker w CROSS JOIN worker me
    WHERE me.id = :me AND me.seen_at > statement_timestamp() - make_interval(secs => :gap)
      AND me.regular_since <= statement_timestamp() - make_interval(secs => :ttl)
      AND w.id = ANY(CAST(:ids AS uuid[])) AND w.id <> :me
      AND w.seen_at < statement_timestamp() - make_interval(secs => :ttl)
    ORDER BY w.id
    FOR UPDATE OF w SKIP LOCKED
)
DELETE FROM worker w USING dead WHERE w.id = dead.id
RETURNING w.id, w.draining_at IS NOT NULL AS draining
""")

JOBS_OF_WORKERS = text("""
SELECT id, worker_id, attempt, greatest(losses - losses_before_step, 0) AS losses FROM job
WHERE worker_id = ANY(CAST(:ids AS uuid[])) AND status = 'InProgress'
ORDER BY id
LIMIT 20000
""")

DEREGISTER = text("DELETE FROM worker WHERE id = :me")

LIST = text("""
SELECT id, host, revision, pool, slots, running, started_at, draining_at,
       CAST(extract(epoch FROM statement_timestamp() - seen_at) AS float8) AS heartbeat_age,
       (SELECT count(*) FROM job j WHERE j.worker_id = worker.id) AS holds
FROM worker ORDER BY started_at
""")
