UPDATE orchestration
SET cancelled_at = coalesce(cancelled_at, statement_timestamp()), reopening_at = NULL, reopening_finishes = NULL,
    completed_at = CASE WHEN completed + errored = total THEN statement_timestamp() END,
    outcome = CASE WHEN completed + errored < total THEN NULL WHEN errored = 0 THEN 'Completed'
                   WHEN completed = 0 THEN 'Errored' ELSE 'Partial' END
WHERE id = %(id)s AND completed_at IS NULL
RETURNING finishes
