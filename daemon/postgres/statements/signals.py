"""Signals: stored first, then counted on their job, each in a transaction of its own.

COUNT locks the job's row, as a wait does while it looks: either the wait sees the signal, or its park sees another
count than it looked at. A signal that was stored and not counted is counted by the fleet. It needs no job: a wait
finds it when the job has come.
"""

from sqlalchemy import text

STORE = text("""
INSERT INTO signal (id, job_id, name, payload)
VALUES (:signal_id, :id, :name, CAST(:payload AS json))
ON CONFLICT (id) DO NOTHING
""")

COUNT = text("""
WITH target AS MATERIALIZED (
    SELECT id, status FROM job WHERE id = :id FOR NO KEY UPDATE
), counted AS (
    UPDATE job j
    SET signals = j.signals + 1,
        not_before = CASE WHEN j.waits_signal = :name AND j.worker_id IS NULL THEN NULL ELSE j.not_before END,
        publish_at = CASE WHEN j.waits_signal = :name AND j.worker_id IS NULL THEN statement_timestamp()
                          ELSE j.publish_at END
    FROM target t
    WHERE j.id = t.id AND j.status = 'InProgress'
), marked AS (
    UPDATE signal SET counted_at = statement_timestamp() WHERE id = :signal_id AND counted_at IS NULL
)
SELECT status FROM target
""")

UNCOUNTED = text("""
SELECT id, job_id, name FROM signal
WHERE counted_at IS NULL AND sent_at < statement_timestamp() - make_interval(secs => :idle)
ORDER BY sent_at LIMIT 100
""")
