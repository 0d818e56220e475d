SELECT id, index, finish_number, status, CAST(params AS text) AS params, CAST(result AS text) AS result, error,
       attempt, failures
FROM job
WHERE orchestration_id = %(id)s AND finish_number > %(after)s
  AND (CAST(%(status)s AS text) IS NULL OR status = CAST(%(status)s AS text))
ORDER BY finish_number
LIMIT %(limit)s
