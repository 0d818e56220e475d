"""What workers say about their handlers, and where the params of a job hold secrets.

A pointer that any revision declared stays one: rows of older revisions have secrets where they had them.
"""

from sqlalchemy import text

RECORD = text("""
INSERT INTO handler AS h (name, revision, params_schema, result_schema, secrets, limits)
SELECT i.name, :revision, i.params_schema, i.result_schema, i.secrets, coalesce(i.limits, '[]')
FROM json_to_recordset(CAST(:handlers AS json))
     AS i (name text, params_schema json, result_schema json, secrets text[], limits json)
ORDER BY i.name
ON CONFLICT (name, revision) DO UPDATE
SET params_schema = excluded.params_schema, result_schema = excluded.result_schema, last_started_at = now(),
    limits = excluded.limits,
    secrets = ARRAY(SELECT DISTINCT unnest(h.secrets || excluded.secrets) ORDER BY 1)
""")

SECRETS = text("""
SELECT count(*) AS revisions,
       coalesce(array_agg(DISTINCT s.pointer) FILTER (WHERE s.pointer IS NOT NULL), '{}') AS secrets
FROM handler h LEFT JOIN LATERAL unnest(h.secrets) AS s (pointer) ON true
WHERE h.name = :name
""")

NEWEST = text("""
SELECT DISTINCT ON (name) name, revision, params_schema, result_schema, secrets, first_started_at, last_started_at
FROM handler ORDER BY name, last_started_at DESC
""")
