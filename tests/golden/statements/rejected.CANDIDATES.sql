SELECT id, reason, octet_length(data) AS bytes
FROM rejected_message
WHERE replayed_at IS NULL AND (CAST(%(reason)s AS text) IS NULL OR reason = CAST(%(reason)s AS text))
ORDER BY id
