UPDATE orchestration SET errored = errored - %(reopened)s, reopening_at = statement_timestamp() WHERE id = %(id)s
