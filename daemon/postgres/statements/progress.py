"""What a running handler reports, each under the fence: who lost the claim changes nothing any more.

`fenced` locks the jobs by id, as everything that writes them does.
"""

from sqlalchemy import text

UPDATE_PROGRESS = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]),
        CAST(:currents AS float8[]), CAST(:totals AS float8[]), CAST(:messages AS text[])
    ) AS i (id, worker_id, attempt, current, total, message)
), fenced AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j
SET progress_current = coalesce(i.current, j.progress_current), progress_total = coalesce(i.total, j.progress_total),
    progress_message = coalesce(i.message, j.progress_message), progress_at = statement_timestamp()
FROM fenced h JOIN input i ON i.id = h.id
WHERE j.id = h.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
""")

# `again`: the answer to an earlier try was lost. The notes of an attempt are written in order by one worker, so as many
# of them as there are already are not written again.
INSERT_NOTES = text("""
INSERT INTO progress_note (job_id, orchestration_id, attempt, text)
SELECT j.id, j.orchestration_id, i.attempt, i.text
FROM unnest(CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]), CAST(:texts AS text[]),
            CAST(:numbers AS int[])) WITH ORDINALITY AS i (id, worker_id, attempt, text, number, ordinal)
JOIN job j ON j.id = i.id
WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
  AND (NOT CAST(:again AS bool)
       OR i.number > (SELECT count(*) FROM progress_note n WHERE n.job_id = i.id AND n.attempt = i.attempt))
ORDER BY i.ordinal
""")

UPDATE_CHECKPOINTS = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]),
                         CAST(:checkpoints AS text[])) AS i (id, worker_id, attempt, checkpoint)
), fenced AS MATERIALIZED (
    SELECT j.id FROM input i JOIN job j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE job j SET checkpoint = CAST(i.checkpoint AS json)
FROM fenced h JOIN input i ON i.id = h.id
WHERE j.id = h.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
RETURNING j.id, j.attempt
""")
