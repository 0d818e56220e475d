UPDATE orchestration
SET generation = generation + 1, completed_at = NULL, outcome = NULL,
    event_published_at = NULL, event_publish_at = NULL, event_refused = NULL, event_refusals = 0,
    cancelled_at = NULL, deadline = CASE WHEN deadline > statement_timestamp() THEN deadline END,
    closed_below = 0, reopening_at = statement_timestamp(), reopening_finishes = finishes
WHERE id = %(id)s
