DELETE FROM rejected_message
WHERE received_at < statement_timestamp() - make_interval(secs => %(older_than)s)
RETURNING id
