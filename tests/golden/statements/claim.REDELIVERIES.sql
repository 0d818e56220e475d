WITH input AS MATERIALIZED (
    SELECT i.*, row_number() OVER (PARTITION BY i.job_id ORDER BY i.place) AS copy
    FROM unnest(CAST(%(job_ids)s AS uuid[]), CAST(%(causes)s AS text[]), CAST(%(message_ids)s AS text[]))
         WITH ORDINALITY AS i (job_id, cause, message_id, place)
)
INSERT INTO redelivery (job_id, cause, message_id, worker_id)
SELECT i.job_id, i.cause, i.message_id, %(me)s
FROM (SELECT * FROM input WHERE copy <= 20 ORDER BY job_id, copy) i
CROSS JOIN LATERAL (SELECT count(*) AS kept FROM (SELECT FROM redelivery WHERE job_id = i.job_id LIMIT 20) r) r
CROSS JOIN LATERAL (SELECT FROM job j WHERE j.id = i.job_id AND r.kept + i.copy <= 20 FOR KEY SHARE) j
