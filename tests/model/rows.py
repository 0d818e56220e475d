"""What the tests beside it read of the rows after each step, with the history and the places of each."""

JOBS = """
SELECT j.*, coalesce(j.not_before > now(), false) AS early, h.history, h.kinds
FROM job j, LATERAL (SELECT count(*) AS history, jsonb_object_agg(attempt, kind) AS kinds
                     FROM failed_attempt f WHERE f.job_id = j.id) h
"""
WHOLES = """
SELECT o.*, r.* FROM orchestration o, LATERAL (
    SELECT count(*) FILTER (WHERE status = 'Completed') AS rows_completed,
           count(*) FILTER (WHERE status = 'Errored') AS rows_errored,
           coalesce(array_agg(finish_number ORDER BY finish_number) FILTER (WHERE finish_number IS NOT NULL),
                    CAST(ARRAY[] AS int[])) AS places
    FROM job j WHERE j.orchestration_id = o.id) r
"""
