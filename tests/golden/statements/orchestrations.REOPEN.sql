UPDATE orchestration
SET errored = errored - %(reopened)s, completed_at = NULL, outcome = NULL, event_published_at = NULL,
    event_publish_at = NULL, event_refusals = 0, event_refused = NULL,
    cancelled_at = NULL, deadline = CASE WHEN deadline > statement_timestamp() THEN deadline END,
    generation = generation + 1
WHERE id = %(id)s
RETURNING generation
