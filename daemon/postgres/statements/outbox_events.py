"""Events that are due: leased like jobs, so that no row is locked while one is published.

LEASE dates the events of completed orchestrations ahead and commits; MARK_PUBLISHED, REQUEUE and REFUSE compare
generation and date, so that a late relay touches neither another relay's lease nor the next generation. Locks are taken
in the order of ids. REFUSE counts: what Pub/Sub refused often enough is given up (`event_refused`), which is published
as far as a retry and the retention are concerned, and which only REPUBLISH takes back.
"""

from sqlalchemy import text

LEASE = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE coalesce(event_publish_at, completed_at) <= statement_timestamp()
      AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refused IS NULL
    ORDER BY coalesce(event_publish_at, completed_at)
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE orchestration o
SET event_publish_at = statement_timestamp() + make_interval(secs => :publishing)
FROM due WHERE o.id = due.id
RETURNING o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.outcome, o.created_at,
          o.completed_at, o.traceparent, o.event_publish_at
""")

MARK_PUBLISHED = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[]), CAST(:seen AS timestamptz[]))
                  AS i (id, generation, seen)
), leased AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM orchestration o
        WHERE o.id = i.id AND o.generation = i.generation AND o.event_publish_at = i.seen
          AND o.completed_at IS NOT NULL AND o.event_published_at IS NULL
        FOR NO KEY UPDATE
    ) o
)
UPDATE orchestration o
SET event_published_at = statement_timestamp(), event_publish_at = NULL
FROM leased WHERE o.id = leased.id
""")

# Due since the orchestration completed, as before the lease: the age of the backlog must go on while publishing fails.
REQUEUE = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[]), CAST(:seen AS timestamptz[]))
                  AS i (id, generation, seen)
), leased AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM orchestration o
        WHERE o.id = i.id AND o.generation = i.generation AND o.event_publish_at = i.seen
          AND o.completed_at IS NOT NULL AND o.event_published_at IS NULL
        FOR NO KEY UPDATE
    ) o
)
UPDATE orchestration o SET event_publish_at = NULL
FROM leased WHERE o.id = leased.id
""")

REFUSE = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[]), CAST(:seen AS timestamptz[]))
                  AS i (id, generation, seen)
), leased AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM orchestration o
        WHERE o.id = i.id AND o.generation = i.generation AND o.event_publish_at = i.seen
          AND o.completed_at IS NOT NULL AND o.event_published_at IS NULL
        FOR NO KEY UPDATE
    ) o
)
UPDATE orchestration o
SET event_refusals = o.event_refusals + 1,
    event_refused = CASE WHEN o.event_refusals + 1 >= :most THEN CAST(:reason AS text) END,
    event_publish_at = statement_timestamp()
                       + make_interval(secs => least(:longest, :first * 2.0 ^ least(o.event_refusals, 20)))
FROM leased WHERE o.id = leased.id
""")

REPUBLISH = text("""
WITH refused AS MATERIALIZED (
    SELECT id FROM orchestration
    WHERE id = :orchestration_id AND completed_at IS NOT NULL AND event_published_at IS NULL AND event_refusals > 0
    FOR NO KEY UPDATE
)
UPDATE orchestration o SET event_refused = NULL, event_refusals = 0, event_publish_at = statement_timestamp()
FROM refused WHERE o.id = refused.id
RETURNING o.id
""")

REPUBLISH_ALL = text("""
WITH refused AS MATERIALIZED (
    SELECT id FROM orchestration WHERE event_refused IS NOT NULL ORDER BY id FOR NO KEY UPDATE
)
UPDATE orchestration o SET event_refused = NULL, event_refusals = 0, event_publish_at = statement_timestamp()
FROM refused WHERE o.id = refused.id
RETURNING o.id
""")
