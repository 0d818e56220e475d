"""An operator's retry: a complete orchestration is reopened as a new generation, its failed instances run again.

BEGIN makes it a new generation that can't complete (`reopening_at`) and remembers up to which finish_number the old one
counted. Slices follow, each a transaction of its own: LOCK_SLICE locks failed jobs by id and tells, from their newest
versions, which of them are placeholders; LOCK_ORCHESTRATION, after the jobs as everywhere, looks whether the retry is
still on; then the placeholders are deleted (their instances run when their messages come), the others are dated, and
the count is corrected. A message that comes meanwhile either gives its params to a placeholder before the slice locks
it, or finds no row any more and makes one. END lets the orchestration complete again.
"""

from sqlalchemy import text

LOCK = text("""
SELECT generation, completed_at IS NOT NULL AS complete, reopening_at IS NOT NULL AS reopening, finishes,
       reopening_finishes, errored, pruning_at IS NOT NULL AS pruning,
       event_published_at IS NOT NULL OR event_refused IS NOT NULL AS published
FROM orchestration WHERE id = :id FOR NO KEY UPDATE
""")

# A message that was rejected does not come by itself: the placeholder of its instance stays as it is.
ANY_TO_REOPEN = text("""
SELECT EXISTS (SELECT FROM job
               WHERE orchestration_id = :id AND finish_number IS NOT NULL AND status = 'Errored'
                 AND NOT (CAST(params AS text) = 'null' AND error ->> 'kind' = 'Rejected')) AS some
""")

BEGIN = text("""
UPDATE orchestration
SET generation = generation + 1, completed_at = NULL, outcome = NULL,
    event_published_at = NULL, event_publish_at = NULL, event_refused = NULL, event_refusals = 0,
    cancelled_at = NULL, deadline = CASE WHEN deadline > statement_timestamp() THEN deadline END,
    closed_below = 0, reopening_at = statement_timestamp(), reopening_finishes = finishes
WHERE id = :id
""")

LOCK_SLICE = text("""
SELECT id, finish_number, CAST(params AS text) = 'null' AS placeholder
FROM job
WHERE id = ANY(ARRAY(SELECT id FROM job
                     WHERE orchestration_id = :id AND finish_number > :after AND finish_number <= :finishes
                       AND status = 'Errored'
                       AND NOT (CAST(params AS text) = 'null' AND error ->> 'kind' = 'Rejected')
                     ORDER BY finish_number LIMIT :limit))
  AND status = 'Errored' AND finish_number <= :finishes
ORDER BY id
FOR NO KEY UPDATE
""")

LOCK_ORCHESTRATION = text("""
SELECT 1 FROM orchestration
WHERE id = :id AND generation = :generation AND reopening_at IS NOT NULL AND cancelled_at IS NULL
FOR NO KEY UPDATE
""")

DELETE_PLACEHOLDERS = text("DELETE FROM job WHERE id = ANY(CAST(:ids AS uuid[]))")

# The handler of a job that was ended from outside may still run: its worker dates the job when that has ended.
REOPEN_JOBS = text("""
UPDATE job j
SET status = 'InProgress', attempt = j.attempt + 1, failures = 0, losses = 0, losses_before_step = 0,
    finish_number = NULL, finished_at = NULL,
    error = NULL, cause = 'operator', not_before = NULL, first_started_at = NULL,
    publish_at = statement_timestamp() + CASE WHEN j.occupied_by IS NULL THEN interval '0' ELSE interval '1 minute' END
WHERE id = ANY(CAST(:ids AS uuid[]))
""")

REOPENED = text("""
UPDATE orchestration SET errored = errored - :reopened, reopening_at = statement_timestamp() WHERE id = :id
""")

END = text("""
UPDATE orchestration
SET reopening_at = NULL, reopening_finishes = NULL,
    completed_at = CASE WHEN completed + errored = total THEN statement_timestamp() END,
    outcome = CASE WHEN completed + errored < total THEN NULL WHEN errored = 0 THEN 'Completed'
                   WHEN completed = 0 THEN 'Errored' ELSE 'Partial' END
WHERE id = :id AND generation = :generation AND reopening_at IS NOT NULL
""")

LEFT_FAILED = text("""
SELECT count(*) FROM job
WHERE orchestration_id = :id AND finish_number <= :finishes AND status = 'Errored'
""")

ABANDONED = text("""
SELECT id, generation, reopening_finishes AS finishes
FROM orchestration
WHERE reopening_at < statement_timestamp() - make_interval(secs => :idle)
ORDER BY reopening_at LIMIT 20
""")
