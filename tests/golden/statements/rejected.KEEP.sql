INSERT INTO rejected_message (message_id, reason, text, data, attributes, published_at, orchestration_id)
SELECT i.message_id, i.reason, i.text, i.body, CAST(i.attributes AS json), to_timestamp(i.published), i.orchestration_id
FROM unnest(CAST(%(message_ids)s AS text[]), CAST(%(reasons)s AS text[]), CAST(%(texts)s AS text[]), CAST(%(bodies)s AS bytea[]),
            CAST(%(attributes)s AS text[]), CAST(%(published)s AS float8[]), CAST(%(orchestration_ids)s AS uuid[]))
     AS i (message_id, reason, text, body, attributes, published, orchestration_id)
ORDER BY i.message_id
ON CONFLICT (message_id) DO NOTHING
