SELECT id, message_id, reason, text, data, CAST(attributes AS text) AS attributes, published_at, received_at,
       replayed_at
FROM rejected_message WHERE id = %(id)s
