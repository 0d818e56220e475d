SELECT o.id, o.generation, o.job_name, o.tags, o.total, o.completed, o.errored, o.created_at, o.deadline,
       o.cancelled_at, o.completed_at, o.outcome, o.event_published_at, o.event_refused,
       CASE WHEN o.completed_at IS NULL
            THEN (SELECT count(*) FROM job j WHERE j.orchestration_id = o.id AND j.worker_id IS NOT NULL)
            ELSE 0 END AS running
FROM orchestration o WHERE o.id = %(id)s
