"""Lists of orchestrations for operators, newest first, and of the jobs of one, a page at a time.

Used by `headcount list` and the API. A page begins after the place of a known orchestration in the index (created_at,
id), so that what is kicked off meanwhile shifts nothing. The unfinished ones have an index of their own.
"""

from sqlalchemy import text

RUNNING = text("""
SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at
FROM orchestration o
WHERE o.completed_at IS NULL
  AND (o.created_at, o.id) < (CAST(:after_created_at AS timestamptz), CAST(:after_id AS uuid))
  AND o.created_at < statement_timestamp() - make_interval(secs => :older_than)
  AND o.created_at >= statement_timestamp() - make_interval(secs => :newer_than)
  AND (CAST(:job_name AS text) IS NULL OR o.job_name = CAST(:job_name AS text))
  AND o.tags @> CAST(:having_tags AS jsonb)
  AND (CAST(:kind AS text) IS NULL OR (o.errored > 0 AND EXISTS (
       SELECT FROM job j WHERE j.orchestration_id = o.id AND j.finish_number IS NOT NULL
         AND j.error ->> 'kind' = CAST(:kind AS text))))
ORDER BY o.created_at DESC, o.id DESC LIMIT :limit
""")

ALL = text("""
SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at
FROM orchestration o
WHERE (o.created_at, o.id) < (CAST(:after_created_at AS timestamptz), CAST(:after_id AS uuid))
  AND o.created_at < statement_timestamp() - make_interval(secs => :older_than)
  AND o.created_at >= statement_timestamp() - make_interval(secs => :newer_than)
  AND (CAST(:job_name AS text) IS NULL OR o.job_name = CAST(:job_name AS text))
  AND o.tags @> CAST(:having_tags AS jsonb)
  AND (CAST(:kind AS text) IS NULL OR (o.errored > 0 AND EXISTS (
       SELECT FROM job j WHERE j.orchestration_id = o.id AND j.finish_number IS NOT NULL
         AND j.error ->> 'kind' = CAST(:kind AS text))))
  AND CASE CAST(:state AS text)
      WHEN 'complete' THEN o.completed_at IS NOT NULL
      WHEN 'cancelled' THEN o.cancelled_at IS NOT NULL
      WHEN 'failed' THEN o.errored > 0
      ELSE coalesce(o.outcome = CAST(:state AS text), CAST(:state AS text) IS NULL) END
ORDER BY o.created_at DESC, o.id DESC LIMIT :limit
""")

CREATED_AT = text("SELECT created_at FROM orchestration WHERE id = :id")

JOBS = text("""
SELECT id, index, job_name, status, attempt, failures, losses, created_at, started_at, finished_at, finish_number,
       worker_id, progress_current, progress_total, progress_message, error ->> 'kind' AS error_kind,
       error ->> 'message' AS error_message
FROM job
WHERE orchestration_id = :id AND index > :after
ORDER BY index LIMIT :limit
""")
