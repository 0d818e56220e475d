"""Messages that can't become jobs: kept whole, listed, replayed and purged.

A redelivery of a rejected message keeps its message id, so storing it again changes nothing.
"""

from sqlalchemy import text

KEEP = text("""
INSERT INTO rejected_message (message_id, reason, text, data, attributes, published_at, orchestration_id)
SELECT i.message_id, i.reason, i.text, i.body, CAST(i.attributes AS json), to_timestamp(i.published), i.orchestration_id
FROM unnest(CAST(:message_ids AS text[]), CAST(:reasons AS text[]), CAST(:texts AS text[]), CAST(:bodies AS bytea[]),
            CAST(:attributes AS text[]), CAST(:published AS float8[]), CAST(:orchestration_ids AS uuid[]))
     AS i (message_id, reason, text, body, attributes, published, orchestration_id)
ORDER BY i.message_id
ON CONFLICT (message_id) DO NOTHING
""")

LIST = text("""
SELECT id, message_id, reason, text, octet_length(data) AS bytes, received_at, replayed_at
FROM rejected_message
WHERE id > :after AND (CAST(:reason AS text) IS NULL OR reason = CAST(:reason AS text))
ORDER BY id LIMIT :limit
""")

LIST_NEWEST = text("""
SELECT id, message_id, reason, text, octet_length(data) AS bytes, received_at, replayed_at
FROM rejected_message
WHERE id < :after AND (CAST(:reason AS text) IS NULL OR reason = CAST(:reason AS text))
ORDER BY id DESC LIMIT :limit
""")

CANDIDATE = text("SELECT id, reason, octet_length(data) AS bytes FROM rejected_message WHERE id = :id")

CANDIDATES = text("""
SELECT id, reason, octet_length(data) AS bytes
FROM rejected_message
WHERE replayed_at IS NULL AND (CAST(:reason AS text) IS NULL OR reason = CAST(:reason AS text))
ORDER BY id
""")

BODIES = text("""
SELECT id, data, CAST(attributes AS text) AS attributes,
       CAST(extract(epoch FROM statement_timestamp() - coalesce(published_at, received_at)) AS float8) AS age
FROM rejected_message WHERE id = ANY(CAST(:numbers AS bigint[])) ORDER BY id
""")

SHOW = text("""
SELECT id, message_id, reason, text, data, CAST(attributes AS text) AS attributes, published_at, received_at,
       replayed_at
FROM rejected_message WHERE id = :id
""")

REPLAYED = text("""
UPDATE rejected_message SET replayed_at = statement_timestamp()
WHERE id = ANY(CAST(:numbers AS bigint[])) RETURNING id
""")

PURGE = text("""
DELETE FROM rejected_message
WHERE received_at < statement_timestamp() - make_interval(secs => :older_than)
RETURNING id
""")
