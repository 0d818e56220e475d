SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at
FROM orchestration o
WHERE (o.created_at, o.id) < (CAST(%(after_created_at)s AS timestamptz), CAST(%(after_id)s AS uuid))
  AND o.created_at < statement_timestamp() - make_interval(secs => %(older_than)s)
  AND o.created_at >= statement_timestamp() - make_interval(secs => %(newer_than)s)
  AND (CAST(%(job_name)s AS text) IS NULL OR o.job_name = CAST(%(job_name)s AS text))
  AND o.tags @> CAST(%(having_tags)s AS jsonb)
  AND (CAST(%(kind)s AS text) IS NULL OR (o.errored > 0 AND EXISTS (
       SELECT FROM job j WHERE j.orchestration_id = o.id AND j.finish_number IS NOT NULL
         AND j.error ->> 'kind' = CAST(%(kind)s AS text))))
  AND CASE CAST(%(state)s AS text)
      WHEN 'complete' THEN o.completed_at IS NOT NULL
      WHEN 'cancelled' THEN o.cancelled_at IS NOT NULL
      WHEN 'failed' THEN o.errored > 0
      ELSE coalesce(o.outcome = CAST(%(state)s AS text), CAST(%(state)s AS text) IS NULL) END
ORDER BY o.created_at DESC, o.id DESC LIMIT %(limit)s
