UPDATE orchestration o
SET completed = r.completed, errored = r.errored, finishes = greatest(o.finishes, r.last),
    completed_at = CASE WHEN r.completed + r.errored = o.total AND o.reopening_at IS NULL
                        THEN coalesce(o.completed_at, statement_timestamp()) END,
    outcome = CASE WHEN r.completed + r.errored < o.total OR o.reopening_at IS NOT NULL THEN NULL
                   WHEN r.errored = 0 THEN 'Completed'
                   WHEN r.completed = 0 THEN 'Errored' ELSE 'Partial' END,
    event_published_at = CASE WHEN r.completed + r.errored = o.total AND o.reopening_at IS NULL
                              THEN o.event_published_at END
FROM (SELECT count(*) FILTER (WHERE status = 'Completed') AS completed,
             count(*) FILTER (WHERE status = 'Errored') AS errored, coalesce(max(finish_number), 0) AS last
      FROM job WHERE orchestration_id = %(id)s) r
WHERE o.id = %(id)s AND o.pruning_at IS NULL AND (o.completed <> r.completed OR o.errored <> r.errored)
RETURNING o.id
