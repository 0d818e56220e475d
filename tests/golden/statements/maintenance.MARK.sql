WITH old AS MATERIALIZED (
    SELECT id FROM orchestration o
    WHERE id = ANY(CAST(%(ids)s AS uuid[]))
      AND completed_at
          < statement_timestamp()
            - make_interval(secs => CASE o.outcome WHEN 'Completed' THEN CAST(%(completed_age)s AS float8)
                                    ELSE CAST(%(failed_age)s AS float8) END)
      AND (event_published_at IS NOT NULL OR event_refused IS NOT NULL)
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE orchestration o SET pruning_at = coalesce(o.pruning_at, statement_timestamp()) FROM old WHERE o.id = old.id
RETURNING o.id
