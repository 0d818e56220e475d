"""Deleting what is old, and what was left without its orchestration.

Used by `headcount prune` and `headcount verify --delete-orphans`. Every statement is a transaction of its own and
touches a bounded number of rows, jobs in the order of their ids. MARK comes first: from then on claims take the
orchestration for finished, a retry is refused, and whoever prunes next goes on where this one was interrupted. A page
is a part of a table whose ids rise with time: the first page without an old row is the last one to look at.
"""

from sqlalchemy import text

CANDIDATES = text("""
SELECT o.id, o.completed_at, greatest(o.total, coalesce(j.index + 1, 0)) AS span
FROM orchestration o
LEFT JOIN LATERAL (SELECT index FROM job WHERE orchestration_id = o.id ORDER BY index DESC LIMIT 1) j ON true
WHERE o.completed_at >= coalesce(CAST(:seen_at AS timestamptz), '-infinity')
  AND (o.completed_at, o.id) > (coalesce(CAST(:seen_at AS timestamptz), '-infinity'), CAST(:seen_id AS uuid))
  AND o.completed_at
      < statement_timestamp()
        - make_interval(secs => least(CAST(:completed_age AS float8), CAST(:failed_age AS float8)))
  AND o.completed_at
      < statement_timestamp()
        - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(:completed_age AS float8)
                                ELSE CAST(:failed_age AS float8) END)
  AND (o.event_published_at IS NOT NULL OR o.event_refused IS NOT NULL)
  AND o.pruning_at IS NULL
ORDER BY o.completed_at, o.id
LIMIT :limit
""")

INTERRUPTED = text("""
SELECT o.id, greatest(o.total, coalesce(j.index + 1, 0)) AS span
FROM orchestration o
LEFT JOIN LATERAL (SELECT index FROM job WHERE orchestration_id = o.id ORDER BY index DESC LIMIT 1) j ON true
WHERE o.pruning_at IS NOT NULL
ORDER BY o.pruning_at
LIMIT :limit
""")

YOUNG = text("""
SELECT DISTINCT o.id
FROM unnest(CAST(:ids AS uuid[])) AS i (id)
CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = i.id LIMIT 1) o
JOIN job j ON j.orchestration_id = o.id AND j.index >= :first AND j.index < :first + :rows
WHERE j.published_at
      >= statement_timestamp()
         - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(:completed_age AS float8)
                                 ELSE CAST(:failed_age AS float8) END)
""")

# FOR NO KEY UPDATE looks again at a row that it waited for: one that was just opened for a retry is not complete.
MARK = text("""
WITH old AS MATERIALIZED (
    SELECT id FROM orchestration o
    WHERE id = ANY(CAST(:ids AS uuid[]))
      AND completed_at
          < statement_timestamp()
            - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(:completed_age AS float8)
                                    ELSE CAST(:failed_age AS float8) END)
      AND (event_published_at IS NOT NULL OR event_refused IS NOT NULL)
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE orchestration o SET pruning_at = coalesce(o.pruning_at, statement_timestamp()) FROM old WHERE o.id = old.id
RETURNING o.id
""")

DELETE_NOTES = text("""
WITH old AS MATERIALIZED (
    SELECT id FROM progress_note WHERE orchestration_id = ANY(CAST(:ids AS uuid[])) LIMIT :rows
)
DELETE FROM progress_note WHERE id = ANY(ARRAY(SELECT id FROM old))
RETURNING id
""")

DELETE_JOBS = text("""
WITH old AS MATERIALIZED (
    SELECT j.id
    FROM unnest(CAST(:ids AS uuid[])) AS i (id)
    CROSS JOIN LATERAL (SELECT id FROM orchestration WHERE id = i.id AND pruning_at IS NOT NULL LIMIT 1) o
    JOIN job j ON j.orchestration_id = o.id AND j.index >= :first AND j.index < :first + :rows
    ORDER BY j.id
    FOR UPDATE OF j
)
DELETE FROM job j USING old WHERE j.id = old.id
RETURNING j.id
""")

DELETE_ORCHESTRATIONS = text("""
WITH old AS MATERIALIZED (
    SELECT id FROM orchestration o
    WHERE id = ANY(CAST(:ids AS uuid[])) AND pruning_at IS NOT NULL
      AND (SELECT count(*) FROM (SELECT FROM job WHERE orchestration_id = o.id LIMIT 1) j) = 0
    ORDER BY id
    FOR UPDATE
), links AS (
    DELETE FROM progress_link l USING old WHERE l.orchestration_id = old.id
)
DELETE FROM orchestration o USING old WHERE o.id = old.id
RETURNING o.id
""")

DELETE_REDELIVERIES = text("""
WITH page AS MATERIALIZED (
    SELECT id, received_at < statement_timestamp() - make_interval(secs => :failed_age) AS old
    FROM redelivery WHERE id > :after ORDER BY id LIMIT :rows
), gone AS (
    DELETE FROM redelivery
    WHERE id = ANY(ARRAY(SELECT id FROM page WHERE old AND NOT CAST(:only_count AS bool)))
)
SELECT count(*) AS seen, count(*) FILTER (WHERE old) AS old, max(id) AS last FROM page
""")

DELETE_REPAIRS = text("""
WITH page AS MATERIALIZED (
    SELECT id, repaired_at < statement_timestamp() - make_interval(secs => :failed_age) AS old
    FROM repair WHERE id > :after ORDER BY id LIMIT :rows
), gone AS (
    DELETE FROM repair
    WHERE id = ANY(ARRAY(SELECT id FROM page WHERE old AND NOT CAST(:only_count AS bool)))
)
SELECT count(*) AS seen, count(*) FILTER (WHERE old) AS old, max(id) AS last FROM page
""")

DELETE_REJECTED = text("""
WITH page AS MATERIALIZED (
    SELECT id, received_at < statement_timestamp() - make_interval(secs => :failed_age) AS old
    FROM rejected_message WHERE id > :after ORDER BY id LIMIT :rows
), gone AS (
    DELETE FROM rejected_message
    WHERE id = ANY(ARRAY(SELECT id FROM page WHERE old AND NOT CAST(:only_count AS bool)))
)
SELECT count(*) AS seen, count(*) FILTER (WHERE old) AS old, max(id) AS last FROM page
""")

DELETE_ORPHANS = text("""
WITH old AS MATERIALIZED (
    SELECT id FROM job
    WHERE orchestration_id = :id AND NOT EXISTS (SELECT FROM orchestration o WHERE o.id = :id)
    ORDER BY id
    LIMIT :rows
    FOR UPDATE
)
DELETE FROM job j USING old WHERE j.id = old.id
RETURNING j.id
""")
