"""Settling: the one statement by which a job leaves a worker or leaves InProgress, and the question after it.

SETTLE serves every end of an attempt: completion, failure, retry, interruption, rescue, cancel, deadline, dead letter.
Its order is its correctness. `fenced` locks the jobs by id and keeps only those whose fence (attempt, worker,
InProgress) still stands in their newest version; `locked` locks their orchestrations by id; `counted` adds to the
newest counters (never counting rows, which two transactions would both do with an old snapshot); only then are the jobs
written, with the number that the counter gave them. Old values are read from the target of each UPDATE, not from a CTE.
A job that is ended from outside ('close') while a worker runs it stays occupied by that worker until its handler has
really ended; no claim takes it meanwhile. A delay dates a retry, and an interruption whose thread still runs.
Its form is its speed: LATERAL finds each job by its key (the planner would rather read the whole table), and nothing
is joined with `input` again, nor `ended` with `counted`: their sizes are unknown to it, and it would compare every row
with every other. `rank` is the orchestration's number in `counters` instead. A job whose orchestration was deleted by
hand ends with a number below zero, in no count. The first 5 and the last 95 failed attempts of a job are kept.
"""

from sqlalchemy import text

SETTLE = text("""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]), CAST(:actions AS text[]),
        CAST(:results AS text[]), CAST(:errors AS text[]), CAST(:delays AS float8[]), CAST(:counts AS int[]),
        CAST(:losses AS int[]), CAST(:causes AS text[])
    ) AS i (id, worker_id, attempt, action, result, error, delay, counts, loses, cause)
    ORDER BY id
), fenced AS MATERIALIZED (
    SELECT i.*, h.orchestration_id, h.index, h.started_at,
           h.has_permits AND NOT (i.action = 'close' AND (i.worker_id IS NOT NULL OR h.occupied)) AS releases
    FROM input i
    CROSS JOIN LATERAL (
        SELECT j.orchestration_id, j.index, j.started_at, j.has_permits, j.occupied_by IS NOT NULL AS occupied
        FROM job j
        WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
          AND j.status = 'InProgress'
        FOR NO KEY UPDATE
    ) h
), ended AS MATERIALIZED (
    SELECT h.*, row_number() OVER (PARTITION BY h.orchestration_id ORDER BY h.id) AS number,
           dense_rank() OVER (ORDER BY h.orchestration_id) AS rank
    FROM fenced h
    WHERE h.action IN ('complete', 'fail', 'close')
), delta AS MATERIALIZED (
    SELECT orchestration_id, count(*) AS heads,
           count(*) FILTER (WHERE action = 'complete') AS completed,
           count(*) FILTER (WHERE action <> 'complete') AS errored
    FROM ended GROUP BY orchestration_id
), locked AS MATERIALIZED (
    SELECT d.*
    FROM delta d JOIN orchestration o ON o.id = d.orchestration_id
    ORDER BY o.id
    FOR NO KEY UPDATE OF o
), counted AS (
    UPDATE orchestration o
    SET completed = o.completed + d.completed,
        errored = o.errored + d.errored,
        finishes = o.finishes + d.heads,
        completed_at = CASE WHEN o.completed + o.errored + d.heads = o.total AND o.reopening_at IS NULL
                            THEN statement_timestamp() END,
        outcome = CASE WHEN o.completed + o.errored + d.heads < o.total OR o.reopening_at IS NOT NULL THEN NULL
                       WHEN o.errored + d.errored = 0 THEN 'Completed'
                       WHEN o.completed + d.completed = 0 THEN 'Errored'
                       ELSE 'Partial' END
    FROM locked d
    WHERE o.id = d.orchestration_id
    RETURNING o.id, o.finishes - d.heads AS before, o.completed_at IS NOT NULL AS done
), counters AS MATERIALIZED (
    SELECT array_agg(before ORDER BY id) AS before, array_agg(done ORDER BY id) AS done
    FROM (SELECT id, before, done FROM counted
          UNION ALL
          SELECT id, NULL, false
          FROM (SELECT orchestration_id AS id FROM delta EXCEPT SELECT id FROM counted) orphaned) every
), outcome AS MATERIALIZED (
    SELECT e.id, e.worker_id, e.attempt, e.action, e.result, e.error, e.delay, e.counts, e.loses, e.cause,
           statement_timestamp() AS finished_at, coalesce(p.before[e.rank] + e.number, -1 - e.index) AS finish_number,
           p.done[e.rank] AS done, e.releases
    FROM ended e CROSS JOIN counters p
    UNION ALL
    SELECT h.id, h.worker_id, h.attempt, h.action, h.result, h.error, h.delay, h.counts, h.loses, h.cause,
           NULL, NULL, false, h.releases
    FROM fenced h
    WHERE h.action NOT IN ('complete', 'fail', 'close')
), settled AS (
    UPDATE job j
    SET status = CASE WHEN i.action = 'complete' THEN 'Completed'
                      WHEN i.action IN ('fail', 'close') THEN 'Errored' ELSE 'InProgress' END,
        occupied_by = CASE WHEN i.action = 'close' THEN coalesce(j.worker_id, j.occupied_by) ELSE j.occupied_by END,
        worker_id = NULL,
        claim_token = NULL,
        has_permits = j.has_permits AND NOT i.releases,
        failures = j.failures + i.counts,
        losses = j.losses + i.loses,
        cause = coalesce(i.cause, j.cause),
        result = CAST(i.result AS json),
        error = CAST(i.error AS jsonb),
        finish_number = i.finish_number,
        finished_at = i.finished_at,
        not_before = CASE WHEN i.action IN ('retry', 'interrupt') AND i.delay > 0
                          THEN statement_timestamp() + make_interval(secs => i.delay) END,
        publish_at = CASE WHEN i.action IN ('retry', 'interrupt')
                          THEN statement_timestamp() + make_interval(secs => i.delay) END
    FROM outcome i
    WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id
      AND j.status = 'InProgress'
    RETURNING j.id, i.done, i.releases
), released AS (
    DELETE FROM permit p USING fenced h WHERE h.releases AND p.job_id = h.id
), history AS (
    INSERT INTO failed_attempt (job_id, attempt, worker_id, started_at, ended_at, kind, message, traceback)
    SELECT h.id, h.attempt, h.worker_id, h.started_at, statement_timestamp(), h.error_object ->> 'kind',
           h.error_object ->> 'message', h.error_object ->> 'traceback'
    FROM (SELECT *, CAST(error AS jsonb) AS error_object FROM fenced
          WHERE error IS NOT NULL AND worker_id IS NOT NULL) h
), forgotten AS (
    DELETE FROM failed_attempt f USING fenced h
    WHERE h.attempt > 100 AND f.job_id = h.id AND f.attempt > 5 AND f.attempt <= h.attempt - 95
)
SELECT id, done, releases FROM settled
""")

SETTLED_BY_US = text("""
SELECT i.id
FROM unnest(CAST(:ids AS uuid[]), CAST(:workers AS uuid[]), CAST(:attempts AS int[]), CAST(:actions AS text[]),
            CAST(:kinds AS text[])) AS i (id, worker_id, attempt, action, kind)
JOIN job j ON j.id = i.id
WHERE (i.action = 'complete' AND j.status = 'Completed' AND j.attempt = i.attempt)
   OR EXISTS (SELECT FROM failed_attempt f
              WHERE f.job_id = i.id AND f.attempt = i.attempt AND f.worker_id = i.worker_id AND f.kind = i.kind)
""")
