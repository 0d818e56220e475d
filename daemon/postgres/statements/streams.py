"""What has changed in the orchestrations that somebody follows: one statement for all of them, however many follow.

Used by the reader of the API's streams, four times a second. An orchestration's `finishes` and its jobs are read in one
snapshot, and finish numbers are given under its row's lock, so that no number up to `finishes` can still appear later.
"""

from sqlalchemy import text

# `afters` are finish numbers that are known already, of the generation in `generations`; of another one nothing counts.
# Of an orchestration with over `small` instances only failures are told, and only among the last `window` numbers.
CHANGES = text("""
WITH watched AS MATERIALIZED (
    SELECT o.id, o.generation, o.job_name, o.total, o.completed, o.errored, o.finishes, o.created_at, o.deadline,
           o.cancelled_at, o.completed_at, o.outcome,
           greatest(CASE WHEN o.generation = w.generation THEN w.after ELSE 0 END,
                    CASE WHEN o.total > :small THEN o.finishes - :window ELSE 0 END) AS since
    FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[]), CAST(:afters AS int[])) AS w (id, generation, after)
    JOIN orchestration o ON o.id = w.id
), held AS MATERIALIZED (
    SELECT id, orchestration_id, index, progress_current, progress_total, progress_message,
           row_number() OVER (PARTITION BY orchestration_id ORDER BY started_at, id) AS place,
           count(*) OVER (PARTITION BY orchestration_id) AS running
    FROM job WHERE worker_id IS NOT NULL AND orchestration_id = ANY(CAST(:ids AS uuid[]))
), running AS MATERIALIZED (
    SELECT orchestration_id, max(running) AS running,
           json_agg(json_build_array(id, index, progress_current, progress_total, progress_message) ORDER BY place)
               FILTER (WHERE place <= :shown) AS instances
    FROM held GROUP BY orchestration_id
)
SELECT w.*, coalesce(r.running, 0) AS running, r.instances, t.transitions
FROM watched w
LEFT JOIN running r ON r.orchestration_id = w.id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(finish_number, index, id, status, error ->> 'kind') ORDER BY finish_number)
               AS transitions
    FROM job j
    WHERE j.orchestration_id = w.id AND j.finish_number > w.since AND j.finish_number <= w.finishes
      AND (w.total <= :small OR j.status = 'Errored')
) t ON true
""")

# Another server, another database, another time line after a recovery, or tables that were made anew: in each of them
# the same finish number may mean another job.
EPOCH = text("""
SELECT left(md5(concat_ws('.', s.system_identifier, d.oid, c.timeline_id,
                          CAST(CAST('orchestration' AS regclass) AS oid))), 12) AS epoch
FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database()
""")
