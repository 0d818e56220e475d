INSERT INTO progress_note (job_id, orchestration_id, attempt, text)
SELECT j.id, j.orchestration_id, i.attempt, i.text
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(workers)s AS uuid[]), CAST(%(attempts)s AS int[]), CAST(%(texts)s AS text[]),
            CAST(%(numbers)s AS int[])) WITH ORDINALITY AS i (id, worker_id, attempt, text, number, place)
JOIN job j ON j.id = i.id
WHERE j.attempt = i.attempt AND j.worker_id IS NOT DISTINCT FROM i.worker_id AND j.status = 'InProgress'
  AND (NOT CAST(%(again)s AS bool)
       OR i.number > (SELECT count(*) FROM progress_note n WHERE n.job_id = i.id AND n.attempt = i.attempt))
ORDER BY i.place
