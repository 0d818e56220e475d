"""Jobs that are due for publication: the relay's lease of them, and how much of everything is due.

LEASE looks for the orchestration before it takes a job, so that orphans are not in its limit. It pushes `publish_at`
ahead and commits before anything is published, so that no lock is held across the network and a crash leaves a date
behind; only a claim or a final state clears it. That date is near: a relay that dies between lease and publish delays
its jobs by half a minute. MARK_PUBLISHED dates what was published far ahead. SKIP LOCKED never waits, so the order of
its locks can't deadlock. REFUSE dates a message that Pub/Sub refuses with growing pauses and takes its `published_at`
away: a job that was tried (`publishes`) and never published is what `explain` looks for. Each repetition waits at least
the job's age, which bounds duplicates of a deep backlog to a logarithm. A job with a permit holds up others, should the
worker die that has its message and has not claimed it: it is published again after 10 s, then after growing pauses.
MARK_PUBLISHED, REQUEUE, REFUSE and
MARK_FIRST_PUBLISHED compare the date they saw, so that they never move another one's; by IS NOT DISTINCT FROM, which no
index serves: a whole kick-off shares one date, and a plan made before the first ANALYZE looked each job up by it (60 s
instead of 2 for 100,000 jobs).
"""

from sqlalchemy import text

LEASE = text("""
WITH due AS MATERIALIZED (
    SELECT j.id, o.total, o.traceparent
    FROM job j CROSS JOIN LATERAL (SELECT total, traceparent FROM orchestration WHERE id = j.orchestration_id LIMIT 1) o
    WHERE j.publish_at <= statement_timestamp()
    ORDER BY j.publish_at
    LIMIT :limit
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE job j
SET publish_at = statement_timestamp() + make_interval(secs => :publishing),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM due
WHERE j.id = due.id
RETURNING j.id, j.orchestration_id, j.index, j.job_name, due.total, due.traceparent, j.publish_at, j.attempt
""")

MARK_PUBLISHED = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:seen AS timestamptz[]), CAST(:versions AS int[]))
                  AS i (id, seen, version)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = i.version
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET publish_at = statement_timestamp()
                 + CASE WHEN j.has_permits
                        THEN make_interval(secs => least(:republish_after, 10 * 2.0 ^ least(j.publishes - 1, 20)))
                        ELSE greatest(make_interval(secs => :republish_after), statement_timestamp() - j.created_at) END
FROM free WHERE j.id = free.id
""")

REQUEUE = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:seen AS timestamptz[]), CAST(:versions AS int[]))
                  AS i (id, seen, version)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = i.version
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j SET publish_at = greatest(statement_timestamp(), j.not_before)
FROM free WHERE j.id = free.id
""")

REFUSE = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:seen AS timestamptz[]), CAST(:versions AS int[]))
                  AS i (id, seen, version)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = i.version
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET publish_at = greatest(j.not_before, statement_timestamp()
                          + make_interval(secs => least(:longest, :first * 2.0 ^ least(j.publishes - 1, 20)))),
    published_at = NULL
FROM free WHERE j.id = free.id
""")

MARK_FIRST_PUBLISHED = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:seen AS timestamptz[])) AS i (id, seen)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.attempt = 0
          AND j.publish_at IS NOT DISTINCT FROM i.seen
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET publish_at = greatest(j.publish_at, statement_timestamp() + make_interval(
        secs => CASE WHEN j.has_permits THEN 10.0 ELSE CAST(:republish_after AS float8) END)),
    published_at = statement_timestamp(),
    publishes = j.publishes + 1
FROM free WHERE j.id = free.id
""")

# An orchestration with a job that sleeps or waits for a signal is not old: nothing is wrong with it.
BACKLOG = text("""
SELECT (SELECT count(*) FROM (SELECT FROM job WHERE publish_at <= statement_timestamp() LIMIT 10000) d)
       + (SELECT count(*) FROM (SELECT FROM orchestration
                                WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
                                  AND completed_at IS NOT NULL AND event_published_at IS NULL
                                  AND event_refused IS NULL LIMIT 10000) e) AS due,
       CAST(extract(epoch FROM statement_timestamp() - least(
           (SELECT min(publish_at) FROM job WHERE publish_at <= statement_timestamp()),
           (SELECT min(coalesce(event_publish_at, completed_at)) FROM orchestration
            WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
              AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refused IS NULL))) AS float8)
           AS oldest,
       (SELECT count(*) FROM (SELECT FROM orchestration WHERE event_refused IS NOT NULL LIMIT 10000) r) AS refused,
       (SELECT count(*) FROM (SELECT FROM orchestration WHERE completed_at IS NULL LIMIT 100000) u) AS unfinished,
       CAST(extract(epoch FROM statement_timestamp()
                               - (SELECT created_at FROM orchestration o
                                  WHERE completed_at IS NULL
                                    AND NOT EXISTS (SELECT FROM job j
                                                    WHERE j.orchestration_id = o.id AND j.cause = 'resumed'
                                                      AND j.worker_id IS NULL AND j.status = 'InProgress'
                                                      AND j.not_before > statement_timestamp())
                                  ORDER BY created_at LIMIT 1)) AS float8)
           AS oldest_unfinished
""")

REPUBLISH = text("""
WITH free AS MATERIALIZED (
    SELECT id FROM job
    WHERE status = 'InProgress' AND worker_id IS NULL AND orchestration_id = :orchestration_id
      AND (not_before IS NULL OR not_before <= statement_timestamp())
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE job j SET publish_at = statement_timestamp() FROM free WHERE j.id = free.id
RETURNING j.id
""")

REPUBLISH_ALL = text("""
WITH free AS MATERIALIZED (
    SELECT id FROM job
    WHERE publish_at IS NOT NULL AND (not_before IS NULL OR not_before <= statement_timestamp())
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE job j SET publish_at = statement_timestamp() FROM free WHERE j.id = free.id
RETURNING j.id
""")
