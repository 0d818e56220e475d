"""Durable steps: recorded under the fence, read by later attempts, deleted when a handler begins anew.

Every statement that writes locks the jobs by id and keeps only those whose fence (attempt, worker, InProgress) still
stands in their newest version, as a settlement does. A name is given once in an attempt, so a row of the same attempt
is this very write, whose answer was lost.
"""

from sqlalchemy import text

RECORD_STEPS = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]), CAST(:names AS text[]),
        CAST(:numbers AS int[]), CAST(:results AS text[]), CAST(:kinds AS text[])
    ) AS i (id, worker_id, attempt, name, number, result, kind)
), fenced AS MATERIALIZED (
    SELECT j.id, j.attempt, j.losses, j.losses_before_step
    FROM (SELECT DISTINCT id, worker_id, attempt FROM input) i JOIN job j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), counted AS (
    UPDATE job j SET losses_before_step = j.losses
    FROM fenced h WHERE j.id = h.id AND h.losses <> h.losses_before_step
)
INSERT INTO durable_step AS s (job_id, name, number, attempt, kind, result)
SELECT i.id, i.name, i.number, i.attempt, i.kind, CAST(i.result AS json)
FROM input i JOIN fenced h ON h.id = i.id AND h.attempt = i.attempt
ORDER BY i.id, i.name
ON CONFLICT (job_id, name) DO UPDATE SET attempt = s.attempt WHERE s.attempt = excluded.attempt
RETURNING job_id, name, attempt
""")

RECORDED_STEPS = text("""
SELECT s.job_id, s.name, s.number, CAST(s.result AS text) AS result, s.kind = 'tx' AS in_transaction
FROM unnest(CAST(:ids AS uuid[])) AS i (id) JOIN durable_step s ON s.job_id = i.id
ORDER BY s.job_id, s.number
""")

LOCK_CLAIMED = text("""
SELECT id FROM job
WHERE id = :id AND attempt = :attempt AND worker_id = :me AND status = 'InProgress'
FOR NO KEY UPDATE
""")

DELETE_STEPS = text("DELETE FROM durable_step WHERE job_id = :id")

RECORDED_IN = text("SELECT attempt FROM durable_step WHERE job_id = :id AND name = :name")

# For the rest of a transaction: how long a statement of an author may take, and plans for it as for anybody's.
SET_UP_TRANSACTION = text("""
SELECT set_config('statement_timeout', :timeout, true),
       set_config('idle_in_transaction_session_timeout', :timeout, true),
       set_config('enable_seqscan', 'on', true)
""")
