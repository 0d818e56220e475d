UPDATE rejected_message SET replayed_at = statement_timestamp() WHERE id = %(id)s RETURNING id
