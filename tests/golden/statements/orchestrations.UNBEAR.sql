DELETE FROM job
WHERE orchestration_id = %(id)s AND status = 'Errored' AND CAST(params AS text) = 'null'
  AND error ->> 'kind' <> 'Rejected'
RETURNING id
