SELECT id, data, CAST(attributes AS text) AS attributes
FROM rejected_message WHERE id = ANY(CAST(%(numbers)s AS bigint[])) ORDER BY id
