UPDATE worker
SET seen_at = statement_timestamp(),
    regular_since = CASE WHEN statement_timestamp() - seen_at > make_interval(secs => %(gap)s)
                         THEN statement_timestamp() ELSE regular_since END,
    running = %(running)s,
    draining_at = CASE WHEN %(draining)s THEN coalesce(draining_at, statement_timestamp()) ELSE draining_at END
WHERE id = %(me)s
RETURNING id
