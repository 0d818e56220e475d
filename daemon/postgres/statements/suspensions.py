"""The end of an attempt whose job goes on later: the fourth kind of end, beside completion, failure and interruption.

It changes no counter of an orchestration and keeps no history, so that it is not SETTLE's. `fenced` locks the jobs by
id and keeps only those whose fence still stands; permits are given back. A job to which a signal was sent after its
attempt had looked for one goes on at once.
"""

from sqlalchemy import text

SUSPEND = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]), CAST(:delays AS float8[]),
        CAST(:names AS text[]), CAST(:counts AS int[])
    ) AS i (id, worker_id, attempt, delay, signal, seen)
    ORDER BY id
), fenced AS MATERIALIZED (
    SELECT i.*, h.has_permits, i.signal IS NULL OR h.signals = i.seen AS parks
    FROM input i
    CROSS JOIN LATERAL (
        SELECT j.has_permits, j.signals FROM job j
        WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
          AND j.status = 'InProgress'
        FOR NO KEY UPDATE
    ) h
), released AS (
    DELETE FROM permit p USING fenced h WHERE h.has_permits AND p.job_id = h.id
)
UPDATE job j
SET worker_id = NULL, claim_token = NULL, has_permits = false, suspensions = j.suspensions + 1, cause = 'resumed',
    waits_signal = CASE WHEN h.parks THEN h.signal END,
    not_before = CASE WHEN h.parks THEN statement_timestamp() + make_interval(secs => h.delay) END,
    publish_at = CASE WHEN h.parks THEN statement_timestamp() + make_interval(secs => h.delay)
                      ELSE statement_timestamp() END
FROM fenced h
WHERE j.id = h.id AND j.attempt = h.attempt AND j.worker_id IS NOT DISTINCT FROM h.worker_id
  AND j.status = 'InProgress'
RETURNING j.id, h.has_permits AS releases
""")

SUSPENDED_BY_US = text("""
SELECT j.id
FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS i (id, attempt)
JOIN job j ON j.id = i.id
WHERE j.attempt = i.attempt AND j.worker_id IS NULL AND j.cause = 'resumed' AND j.status = 'InProgress'
""")
