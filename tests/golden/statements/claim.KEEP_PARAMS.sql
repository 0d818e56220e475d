UPDATE job j SET params = CAST(i.params AS json)
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(params)s AS text[])) AS i (id, params)
WHERE j.id = i.id AND CAST(j.params AS text) = 'null'
RETURNING j.id
