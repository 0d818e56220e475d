"""Ending orchestrations from outside, by a cancel or a passed deadline: in slices of their indexes.

MARK_CANCELLED, or the passing of the deadline, comes first and is committed: from then on no claim makes or takes a
job of the orchestration. A slice then makes the instances of its range of indexes that have no row (whose params are
`null`, which no producer can give), and settles what is unfinished in it. Each index is visited once, so that the cost
does not grow with what is behind: `closed_below` remembers how far it got. Every statement looks again whether the
orchestration is still the same generation and still to be ended, and STILL_DUE does so under the locks that the
settlement took: one that completed meanwhile and was reopened by an operator must be left alone. The advisory locks
only keep workers from doing the same slice twice; nothing rests on them.
"""

from sqlalchemy import text

MARK_CANCELLED = text("""
UPDATE orchestration
SET cancelled_at = coalesce(cancelled_at, statement_timestamp()), reopening_at = NULL, reopening_finishes = NULL,
    completed_at = CASE WHEN completed + errored = total THEN statement_timestamp() END,
    outcome = CASE WHEN completed + errored < total THEN NULL WHEN errored = 0 THEN 'Completed'
                   WHEN completed = 0 THEN 'Errored' ELSE 'Partial' END
WHERE id = :id AND completed_at IS NULL
RETURNING generation, finishes
""")

CANCELLED = text("""
SELECT count(*) FROM job WHERE orchestration_id = :id AND finish_number > :finishes AND error ->> 'kind' = 'Cancelled'
""")

COMPLETE = text("SELECT completed_at IS NOT NULL OR generation > :generation FROM orchestration WHERE id = :id")

# The smallest first, so that a small one never waits for a giant; every other time the longest due first, so that a
# giant gets its turn whatever comes.
PICK = text("""
WITH due AS MATERIALIZED (
    SELECT id, generation, total, closed_below, cancelled_at IS NOT NULL AS cancelled,
           least(cancelled_at, deadline) AS since
    FROM orchestration
    WHERE completed_at IS NULL AND reopening_at IS NULL AND cancelled_at IS NOT NULL
    UNION
    SELECT id, generation, total, closed_below, cancelled_at IS NOT NULL, least(cancelled_at, deadline)
    FROM orchestration
    WHERE completed_at IS NULL AND reopening_at IS NULL AND deadline <= statement_timestamp()
), picked AS MATERIALIZED (
    SELECT * FROM due
    ORDER BY CASE WHEN :longest_due THEN extract(epoch FROM since) ELSE total - closed_below END, id
    LIMIT :limit
)
SELECT id, generation, total, closed_below, cancelled FROM picked
WHERE pg_try_advisory_xact_lock(:key, hashtext(CAST(id AS text)))
""")

PICK_ONE = text("""
SELECT id, generation, total, closed_below, cancelled_at IS NOT NULL AS cancelled
FROM orchestration
WHERE id = :id AND completed_at IS NULL AND reopening_at IS NULL
  AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
  AND pg_try_advisory_xact_lock(:key, hashtext(CAST(id AS text)))
""")

JOB_TO_END = text("SELECT status, attempt, worker_id, occupied_by FROM job WHERE id = :id")

MISSING = text("""
SELECT o.id, missing.index, o.job_name
FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[]), CAST(:lows AS int[]), CAST(:highs AS int[]))
     AS i (id, generation, low, high)
CROSS JOIN LATERAL (
    SELECT id, job_name FROM orchestration
    WHERE id = i.id AND generation = i.generation AND completed_at IS NULL
      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
    LIMIT 1
) o
CROSS JOIN LATERAL generate_series(i.low, i.high - 1) AS missing (index)
LEFT JOIN LATERAL (SELECT id FROM job WHERE orchestration_id = i.id AND index = missing.index LIMIT 1) j ON true
WHERE j.id IS NULL
""")

INSERT_PLACEHOLDERS = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)
SELECT i.id, i.orchestration_id, i.index, i.job_name, CAST(i.params AS json),
       statement_timestamp() + interval '1 minute'
FROM unnest(CAST(:ids AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]), CAST(:names AS text[]),
            CAST(:params AS text[])) AS i (id, orchestration_id, index, job_name, params)
JOIN orchestration o ON o.id = i.orchestration_id AND i.index < o.total AND o.pruning_at IS NULL
ORDER BY i.id
ON CONFLICT DO NOTHING
RETURNING id
""")

UNFINISHED = text("""
SELECT j.id, j.worker_id, j.attempt, o.id AS orchestration_id
FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[]), CAST(:lows AS int[]), CAST(:highs AS int[]))
     AS i (id, generation, low, high)
CROSS JOIN LATERAL (
    SELECT id FROM orchestration
    WHERE id = i.id AND generation = i.generation AND completed_at IS NULL
      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
    LIMIT 1
) o
CROSS JOIN LATERAL (
    SELECT id, worker_id, attempt FROM job
    WHERE orchestration_id = i.id AND index >= i.low AND index < i.high AND status = 'InProgress'
    OFFSET 0
) j
""")

STILL_DUE = text("""
SELECT count(*) FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[])) AS i (id, generation)
CROSS JOIN LATERAL (SELECT FROM orchestration
                    WHERE id = i.id AND generation = i.generation
                      AND (cancelled_at IS NOT NULL OR deadline <= statement_timestamp())
                    LIMIT 1) o
""")

ADVANCE = text("""
WITH mine AS MATERIALIZED (
    SELECT o.id, i.high
    FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[]), CAST(:lows AS int[]), CAST(:highs AS int[]))
         AS i (id, generation, low, high)
    JOIN orchestration o ON o.id = i.id AND o.generation = i.generation AND o.closed_below = i.low
                        AND o.completed_at IS NULL
    ORDER BY o.id
    FOR NO KEY UPDATE OF o
)
UPDATE orchestration o SET closed_below = CASE WHEN m.high >= o.total THEN 0 ELSE m.high END
FROM mine m WHERE o.id = m.id
""")
