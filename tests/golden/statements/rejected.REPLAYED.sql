UPDATE rejected_message SET replayed_at = statement_timestamp()
WHERE id = ANY(CAST(%(numbers)s AS bigint[])) RETURNING id
