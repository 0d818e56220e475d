WITH page AS MATERIALIZED (
    SELECT id, repaired_at < statement_timestamp() - make_interval(secs => %(failed_age)s) AS old
    FROM repair WHERE id > %(after)s ORDER BY id LIMIT %(rows)s
), gone AS (
    DELETE FROM repair
    WHERE id = ANY(ARRAY(SELECT id FROM page WHERE old AND NOT CAST(%(only_count)s AS bool)))
)
SELECT count(*) AS seen, count(*) FILTER (WHERE old) AS old, max(id) AS last FROM page
