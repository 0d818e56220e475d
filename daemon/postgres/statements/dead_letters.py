"""Dead letters: counted against their jobs, and jobs made of those that have no row yet.

RECORD takes the jobs that are free and due, by id, and counts only a message that was published after the last one
counted: the copies of one publish count once. REGISTER comes after the orchestrations were made, as a statement of its
own, because a row made in the same statement is not visible to it; what disagrees with its orchestration makes no row.
"""

from sqlalchemy import text

RECORD = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS i (id, published)
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
""")

# An instance that was ended before its message came gets its params, so that a retry can run it.
GIVE_PARAMS = text("""
WITH lacking AS MATERIALIZED (
    SELECT i.id, i.params
    FROM (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:params AS text[])) AS u (id, params) ORDER BY u.id) i
    CROSS JOIN LATERAL (SELECT FROM job j WHERE j.id = i.id AND CAST(j.params AS text) = 'null' FOR NO KEY UPDATE) j
    WHERE i.params IS NOT NULL
)
UPDATE job j SET params = CAST(lacking.params AS json) FROM lacking WHERE j.id = lacking.id
""")

KNOWN = text("SELECT id, CAST(params AS text) = 'null' AS lacks_params FROM job WHERE id = ANY(CAST(:ids AS uuid[]))")

RECENT = text("""
SELECT i.id FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS i (id, published)
WHERE i.published > statement_timestamp() - make_interval(secs => :retention)
""")

REGISTER = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at, dead_letters, last_dead_letter_at)
SELECT i.id, o.id, i.index, i.job_name, CAST(i.params AS json), statement_timestamp(), 1, statement_timestamp()
FROM unnest(CAST(:ids AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]), CAST(:counts AS int[]),
            CAST(:names AS text[]), CAST(:params AS text[]))
     AS i (id, orchestration_id, index, count, job_name, params)
CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = i.orchestration_id LIMIT 1) o
WHERE i.index < o.total AND i.job_name = o.job_name AND (i.count IS NULL OR i.count = o.total)
  AND o.completed_at IS NULL
ORDER BY i.id
ON CONFLICT DO NOTHING
RETURNING id
""")
