INSERT INTO redelivery (job_id, cause, message_id, worker_id)
SELECT i.job_id, i.cause, i.message_id, %(me)s
FROM unnest(CAST(%(job_ids)s AS uuid[]), CAST(%(causes)s AS text[]), CAST(%(message_ids)s AS text[]))
     AS i (job_id, cause, message_id)
JOIN job j ON j.id = i.job_id
