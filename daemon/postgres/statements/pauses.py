"""Pausing a job name and resuming it. A pause is a limit of no job (see `limits`), read by every claim itself.

A claim that parks a paused job has locked its key. LOCK waits for such claims and keeps later ones out until the pause
is gone, so that WAKE, a later statement, sees whatever waits for this pause.
"""

from sqlalchemy import text

HANDLERS = text("SELECT DISTINCT name FROM handler ORDER BY name")

PAUSED = text("""
SELECT p.job_name, p.paused_at,
       (SELECT count(*) FROM job j
        WHERE j.waits_limit IS NOT NULL AND j.worker_id IS NULL AND j.status = 'InProgress'
          AND j.waits_limit = '*paused' AND j.waits_key = p.job_name) AS waiting
FROM paused_job p ORDER BY p.job_name
""")

PAUSE = text("INSERT INTO paused_job (job_name) VALUES (:job_name) ON CONFLICT (job_name) DO NOTHING")

LOCK = text("""
INSERT INTO limit_key (limit_name, key, size) VALUES ('*paused', :job_name, 0)
ON CONFLICT (limit_name, key) DO UPDATE SET used_at = statement_timestamp()
""")

RESUME = text("DELETE FROM paused_job WHERE job_name = :job_name RETURNING job_name")

# What somebody else has locked is being published, so that it is claimed then, or ended.
WAKE = text("""
WITH free AS MATERIALIZED (
    SELECT id FROM job
    WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
      AND waits_limit = '*paused' AND waits_key = :job_name
    ORDER BY created_at LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE job j
SET not_before = NULL, publish_at = statement_timestamp(), waits_limit = NULL, waits_key = NULL
FROM free WHERE j.id = free.id
RETURNING j.id
""")
