WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(moments)s AS timestamptz[])) AS i (id, published)
), free AS MATERIALIZED (
    SELECT i.id
    FROM (SELECT * FROM input ORDER BY id) i
    CROSS JOIN LATERAL (
        SELECT FROM job j
        WHERE j.id = i.id AND j.status = 'InProgress' AND j.worker_id IS NULL AND j.occupied_by IS NULL
          AND (j.not_before IS NULL OR j.not_before <= statement_timestamp())
          AND (j.last_dead_letter_at IS NULL OR i.published > j.last_dead_letter_at)
        FOR NO KEY UPDATE
    ) j
)
UPDATE job j
SET dead_letters = j.dead_letters + 1, last_dead_letter_at = statement_timestamp(), publish_at = statement_timestamp()
FROM free WHERE j.id = free.id
RETURNING j.id, j.attempt, j.dead_letters
