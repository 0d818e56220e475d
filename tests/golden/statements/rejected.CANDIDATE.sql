SELECT id, reason, octet_length(data) AS bytes FROM rejected_message WHERE id = %(id)s
