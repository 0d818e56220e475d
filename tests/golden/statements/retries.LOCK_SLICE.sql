SELECT id, finish_number, CAST(params AS text) = 'null' AS placeholder
FROM job
WHERE id = ANY(ARRAY(SELECT id FROM job
                     WHERE orchestration_id = %(id)s AND finish_number > %(after)s AND finish_number <= %(finishes)s
                       AND status = 'Errored'
                       AND NOT (CAST(params AS text) = 'null' AND error ->> 'kind' = 'Rejected')
                     ORDER BY finish_number LIMIT %(limit)s))
  AND status = 'Errored' AND finish_number <= %(finishes)s
ORDER BY id
FOR NO KEY UPDATE
