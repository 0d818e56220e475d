UPDATE orchestration SET cancelled_at = coalesce(cancelled_at, statement_timestamp())
WHERE id = %(id)s AND completed_at IS NULL
RETURNING id
