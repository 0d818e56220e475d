SELECT id, message_id, reason, text, octet_length(data) AS bytes, received_at, replayed_at
FROM rejected_message
WHERE id < %(after)s AND (CAST(%(reason)s AS text) IS NULL OR reason = CAST(%(reason)s AS text))
ORDER BY id DESC LIMIT %(limit)s
