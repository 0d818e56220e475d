"""Claiming jobs under limits, and waking those that wait: permits are rows, counted under the lock of their key.

A job has the limits of its handler, which its worker declares; one for its orchestration, if that was kicked off with a
parallelism (`*parallelism`, by its id); and one of no job at all while its name is paused (`*paused`, by the name).

The statements of a limited claim leave in one packet, between the guards of every claim: REGISTER_JOBS makes missing
rows, free and dated; LOCK_KEYS locks the free due jobs by id, then the rows of their limits and keys in order;
CLAIM_WITH_PERMITS, with a snapshot that is newer than these locks, takes those that get a permit of each of their
limits, and parks the others: dated, and named as waiting for the first limit that was full. Two claims therefore never
count the same permits. Which limits a job has its row says, not the name in a message: one without any is simply taken.
`xmin` tells which keys this very transaction has locked: a job that became free between the two statements, whose key
nobody locked, is left for the next try.

A settlement deletes permits and locks no key, so a claim that is parking a job may not see them go: whoever released
looks for waiters in a later statement, and each second all keys with room and waiters are looked for; the date of a
waiter is far ahead, and only there for the case that nobody looks. WAKE gives its
permit to a waiter at once, so that no newer job takes its place, and dates it now.

A Rate has no permits to return: `next_at` of its key is the moment of the next start, moved ahead by each. A claim
takes what starts within a second, WAKE gives the moments of the next five to the oldest waiters. The permit is only the
mark that a job has had its start, so that its claim takes no other; it goes with the end of the attempt.
"""

from sqlalchemy import text

REGISTER_JOBS = text("""
INSERT INTO job (id, orchestration_id, index, job_name, params, message_id, publish_at)
SELECT i.id, o.id, i.index, i.job_name, CAST(i.params AS json), i.message_id,
       statement_timestamp() + interval '1 minute'
FROM unnest(CAST(:ids AS uuid[]), CAST(:orchestration_ids AS uuid[]), CAST(:indexes AS int[]), CAST(:counts AS int[]),
            CAST(:names AS text[]), CAST(:params AS text[]), CAST(:message_ids AS text[]))
     AS i (id, orchestration_id, index, count, job_name, params, message_id)
CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = i.orchestration_id LIMIT 1) o
LEFT JOIN LATERAL (SELECT id FROM job WHERE id = i.id LIMIT 1) t ON true
LEFT JOIN LATERAL (SELECT id FROM job WHERE orchestration_id = o.id AND index = i.index LIMIT 1) x ON true
WHERE t.id IS NULL AND x.id IS NULL AND i.params IS NOT NULL
  AND i.index < o.total AND i.job_name = o.job_name AND (i.count IS NULL OR i.count = o.total)
  AND o.cancelled_at IS NULL AND o.pruning_at IS NULL AND (o.deadline IS NULL OR o.deadline > statement_timestamp())
ORDER BY i.id
ON CONFLICT (id) DO NOTHING
""")

LOCK_KEYS = text("""
WITH due AS MATERIALIZED (
    SELECT d.id, d.created_at, r.limit_name, r.size, r.period, r.key
    FROM (
        SELECT j.id, j.created_at, j.job_name, j.params, j.orchestration_id, o.tags, o.parallelism
        FROM unnest(CAST(:ids AS uuid[])) AS i (id)
        CROSS JOIN LATERAL (
            SELECT id, created_at, job_name, params, orchestration_id FROM job
            WHERE id = i.id AND status = 'InProgress' AND worker_id IS NULL AND occupied_by IS NULL
              AND (not_before IS NULL OR not_before <= statement_timestamp())
            FOR NO KEY UPDATE
        ) j
        CROSS JOIN LATERAL (
            SELECT tags, parallelism FROM orchestration
            WHERE id = j.orchestration_id AND cancelled_at IS NULL AND pruning_at IS NULL
              AND (deadline IS NULL OR deadline > statement_timestamp())
            LIMIT 1
        ) o
        ORDER BY i.id
        OFFSET 0
    ) d
    JOIN LATERAL (
        SELECT limit_name, size, period, headcount_limit_key(source, field, d.tags, d.params) AS key
        FROM unnest(CAST(:limit_jobs AS text[]), CAST(:limit_names AS text[]), CAST(:limit_sources AS text[]),
                    CAST(:limit_fields AS text[]), CAST(:limit_sizes AS int[]), CAST(:limit_periods AS float8[]))
             AS i (job_name, limit_name, source, field, size, period) WHERE i.job_name = d.job_name
        UNION ALL
        SELECT '*parallelism', d.parallelism, NULL, CAST(d.orchestration_id AS text) WHERE d.parallelism IS NOT NULL
        UNION ALL
        SELECT '*paused', 0, NULL, job_name FROM paused_job WHERE job_name = d.job_name
    ) r ON true
)
INSERT INTO limit_key AS k (limit_name, key, size, period)
SELECT limit_name, key, min(size), max(period) FROM due GROUP BY limit_name, key ORDER BY limit_name, key
ON CONFLICT (limit_name, key) DO UPDATE
SET size = excluded.size, period = excluded.period, used_at = statement_timestamp()
""")

CLAIM_WITH_PERMITS = text("""
WITH due AS MATERIALIZED (
    SELECT d.id, d.created_at, r.limit_name, r.size, r.period, r.key
    FROM (
        SELECT j.id, j.created_at, j.job_name, j.params, j.orchestration_id, o.tags, o.parallelism
        FROM unnest(CAST(:ids AS uuid[])) AS i (id)
        CROSS JOIN LATERAL (
            SELECT id, created_at, job_name, params, orchestration_id FROM job
            WHERE id = i.id AND status = 'InProgress' AND worker_id IS NULL AND occupied_by IS NULL
              AND (not_before IS NULL OR not_before <= statement_timestamp())
            FOR NO KEY UPDATE SKIP LOCKED
        ) j
        CROSS JOIN LATERAL (
            SELECT tags, parallelism FROM orchestration
            WHERE id = j.orchestration_id AND cancelled_at IS NULL AND pruning_at IS NULL
              AND (deadline IS NULL OR deadline > statement_timestamp())
            LIMIT 1
        ) o
        ORDER BY i.id
        OFFSET 0
    ) d
    LEFT JOIN LATERAL (
        SELECT limit_name, size, period, headcount_limit_key(source, field, d.tags, d.params) AS key
        FROM unnest(CAST(:limit_jobs AS text[]), CAST(:limit_names AS text[]), CAST(:limit_sources AS text[]),
                    CAST(:limit_fields AS text[]), CAST(:limit_sizes AS int[]), CAST(:limit_periods AS float8[]))
             AS i (job_name, limit_name, source, field, size, period) WHERE i.job_name = d.job_name
        UNION ALL
        SELECT '*parallelism', d.parallelism, NULL, CAST(d.orchestration_id AS text) WHERE d.parallelism IS NOT NULL
        UNION ALL
        SELECT '*paused', 0, NULL, job_name FROM paused_job WHERE job_name = d.job_name
    ) r ON true
), wanted AS MATERIALIZED (
    SELECT d.id, d.limit_name, d.key, d.size, d.period, d.limit_name IS NULL OR k.key IS NOT NULL AS locked,
           p.job_id IS NOT NULL AS own, greatest(k.next_at, statement_timestamp()) AS next_at,
           row_number() OVER (PARTITION BY d.limit_name, d.key, p.job_id IS NOT NULL ORDER BY d.created_at, d.id)
               AS number,
           (SELECT count(*) FROM permit t WHERE t.limit_name = d.limit_name AND t.key = d.key) AS taken
    FROM due d
    LEFT JOIN limit_key k ON k.limit_name = d.limit_name AND k.key = d.key
                         AND k.xmin = CAST(pg_current_xact_id() AS xid)
    LEFT JOIN permit p ON p.job_id = d.id AND p.limit_name = d.limit_name AND p.key = d.key
), fitting AS MATERIALIZED (
    SELECT *, CASE WHEN limit_name IS NULL OR own THEN true
                   WHEN period IS NULL THEN number <= size - taken
                   ELSE next_at + make_interval(secs => (number - 1) * period / size)
                        < statement_timestamp() + interval '1 second' END AS fits
    FROM wanted
), judged AS MATERIALIZED (
    SELECT id, bool_and(fits) AS granted, count(limit_name) > 0 AS limited,
           -- a pause before all others: what waits for it gets no permit of them meanwhile
           min(limit_name COLLATE "C") FILTER (WHERE NOT fits) AS waits_limit
    FROM fitting GROUP BY id HAVING bool_and(locked)
), spent AS (
    UPDATE limit_key k SET next_at = t.next_at + make_interval(secs => t.starts * k.period / k.size)
    FROM (SELECT w.limit_name, w.key, w.next_at, count(*) AS starts FROM wanted w JOIN judged g ON g.id = w.id
          WHERE g.granted AND w.period IS NOT NULL AND NOT w.own GROUP BY w.limit_name, w.key, w.next_at) t
    WHERE k.limit_name = t.limit_name AND k.key = t.key
), input AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS uuid[]), CAST(:message_ids AS text[]))
                  AS i (id, token, message_id)
), claimed AS (
    UPDATE job j
    SET attempt = j.attempt + 1, worker_id = :me, claim_token = i.token, publish_at = NULL, not_before = NULL,
        dead_letters = 0, started_at = statement_timestamp(), message_id = i.message_id,
        first_started_at = coalesce(j.first_started_at, statement_timestamp()),
        has_permits = g.limited, waits_limit = NULL, waits_key = NULL
    FROM judged g JOIN input i ON i.id = g.id
    WHERE g.granted AND j.id = g.id
    RETURNING j.id, j.orchestration_id, j.index, j.job_name, j.attempt, j.failures, j.losses, j.cause, j.params,
              j.checkpoint, j.created_at, j.first_started_at
), given AS (
    INSERT INTO permit (job_id, limit_name, key)
    SELECT w.id, w.limit_name, w.key FROM wanted w JOIN judged g ON g.id = w.id
    WHERE g.granted AND g.limited AND NOT w.own
    ON CONFLICT DO NOTHING
), parked AS (
    UPDATE job j
    SET not_before = statement_timestamp() + greatest(interval '2 hours', statement_timestamp() - j.created_at),
        publish_at = statement_timestamp() + greatest(interval '2 hours', statement_timestamp() - j.created_at),
        has_permits = false, waits_limit = w.limit_name, waits_key = w.key
    FROM judged g JOIN wanted w ON w.id = g.id AND w.limit_name = g.waits_limit
    WHERE NOT g.granted AND j.id = g.id
), returned AS (
    DELETE FROM permit p USING judged g WHERE NOT g.granted AND p.job_id = g.id
)
SELECT c.id, c.orchestration_id, c.index, c.job_name, c.attempt, c.failures, c.losses, c.cause,
       CAST(c.params AS text) AS params, CAST(c.checkpoint AS text) AS checkpoint,
       CAST(extract(epoch FROM statement_timestamp() - c.created_at) AS float8) AS age,
       CAST(extract(epoch FROM statement_timestamp() - c.first_started_at) AS float8) AS since_first_start,
       o.total, nullif(o.tags, '{}') AS tags, o.traceparent,
       CAST(extract(epoch FROM o.deadline - statement_timestamp()) AS float8) AS deadline_in
FROM claimed c CROSS JOIN LATERAL (SELECT * FROM orchestration WHERE id = c.orchestration_id LIMIT 1) o
""")

# A job that REGISTER_JOBS has made from a snapshot in which its orchestration was still there.
REQUIRE_ORCHESTRATIONS_OF_JOBS = text("""
SELECT headcount_require(count(*) = 0, 'HC003')
FROM (SELECT FROM unnest(CAST(:ids AS uuid[])) AS i (id)
      CROSS JOIN LATERAL (SELECT orchestration_id FROM job
                          WHERE id = i.id AND xmin = CAST(pg_current_xact_id() AS xid) LIMIT 1) j
      WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = j.orchestration_id AND o.pruning_at IS NULL)
      LIMIT 1) orphan
""")

KEYS_WITH_ROOM = text("""
WITH RECURSIVE waiting AS (
    (SELECT waits_limit, waits_key FROM job
     WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
     ORDER BY waits_limit, waits_key LIMIT 1)
    UNION ALL
    SELECT n.waits_limit, n.waits_key
    FROM waiting w CROSS JOIN LATERAL (
        SELECT waits_limit, waits_key FROM job
        WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
          AND (waits_limit, waits_key) > (w.waits_limit, w.waits_key)
        ORDER BY waits_limit, waits_key LIMIT 1
    ) n
)
SELECT k.limit_name, k.key
FROM waiting w JOIN limit_key k ON k.limit_name = w.waits_limit AND k.key = w.waits_key
WHERE CASE WHEN k.period IS NULL
           THEN k.size > (SELECT count(*) FROM permit p WHERE p.limit_name = k.limit_name AND p.key = k.key)
           ELSE k.next_at <= statement_timestamp() + interval '5 seconds' END
LIMIT :limit
""")

LOCK_GIVEN_KEYS = text("""
SELECT k.limit_name, k.key
FROM limit_key k
JOIN unnest(CAST(:limits AS text[]), CAST(:keys AS text[])) AS i (limit_name, key)
     ON i.limit_name = k.limit_name AND i.key = k.key
ORDER BY k.limit_name, k.key
FOR UPDATE OF k
""")

# A start that a Rate allows has a moment of its own: the waiter is dated there, and keeps it as its permit.
WAKE = text("""
WITH picked AS MATERIALIZED (
    SELECT k.limit_name, k.key, k.period, k.size, k.next_at, j.id, j.created_at
    FROM unnest(CAST(:limits AS text[]), CAST(:keys AS text[])) AS i (limit_name, key)
    CROSS JOIN LATERAL (
        SELECT limit_name, key, period, size, n.next_at,
               CASE WHEN period IS NULL
                    THEN size - (SELECT count(*) FROM permit p WHERE p.limit_name = l.limit_name AND p.key = l.key)
                    ELSE 1 + floor(CAST(extract(epoch FROM statement_timestamp() + interval '5 seconds' - n.next_at)
                                        AS float8) * size / period) END AS room
        FROM limit_key l CROSS JOIN LATERAL (SELECT greatest(l.next_at, statement_timestamp()) AS next_at) n
        WHERE l.limit_name = i.limit_name AND l.key = i.key
        LIMIT 1
    ) k
    CROSS JOIN LATERAL (
        SELECT id, created_at FROM job
        WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
          AND waits_limit = k.limit_name AND waits_key = k.key
        ORDER BY created_at
        LIMIT CAST(least(greatest(k.room, 0), 10000) AS int)
        FOR NO KEY UPDATE SKIP LOCKED
    ) j
), numbered AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY limit_name, key ORDER BY created_at, id) AS number FROM picked
), spent AS (
    UPDATE limit_key k SET next_at = t.next_at + make_interval(secs => t.starts * k.period / k.size)
    FROM (SELECT limit_name, key, next_at, count(*) AS starts FROM picked WHERE period IS NOT NULL
          GROUP BY limit_name, key, next_at) t
    WHERE k.limit_name = t.limit_name AND k.key = t.key
), given AS (
    INSERT INTO permit (job_id, limit_name, key) SELECT id, limit_name, key FROM picked ON CONFLICT DO NOTHING
)
UPDATE job j
SET not_before = s.start_at, publish_at = coalesce(s.start_at, statement_timestamp()),
    has_permits = true, waits_limit = NULL, waits_key = NULL
FROM (SELECT id, CASE WHEN period IS NOT NULL
                      THEN next_at + make_interval(secs => (number - 1) * period / size) END AS start_at
      FROM numbered) s
WHERE j.id = s.id
RETURNING j.id
""")

FORGET_KEYS = text("""
DELETE FROM limit_key k
WHERE k.ctid = ANY(ARRAY(
    SELECT l.ctid FROM limit_key l
    WHERE l.used_at < statement_timestamp() - interval '1 day'
      AND NOT EXISTS (SELECT FROM permit p WHERE p.limit_name = l.limit_name AND p.key = l.key)
      AND NOT EXISTS (SELECT FROM job
                      WHERE waits_limit IS NOT NULL AND worker_id IS NULL AND status = 'InProgress'
                        AND waits_limit = l.limit_name AND waits_key = l.key)
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
))
""")
