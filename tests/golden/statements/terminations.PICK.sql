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
    ORDER BY CASE WHEN %(longest_due)s THEN extract(epoch FROM since) ELSE total - closed_below END, id
    LIMIT %(limit)s
)
SELECT id, generation, total, closed_below, cancelled FROM picked
WHERE pg_try_advisory_xact_lock(%(key)s, hashtext(CAST(id AS text)))
