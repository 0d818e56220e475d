WITH lacking AS MATERIALIZED (
    SELECT i.id, i.params
    FROM (SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(params)s AS text[])) AS u (id, params) ORDER BY u.id) i
    CROSS JOIN LATERAL (SELECT FROM job j WHERE j.id = i.id AND CAST(j.params AS text) = 'null' FOR NO KEY UPDATE) j
    WHERE i.params IS NOT NULL
)
UPDATE job j SET params = CAST(lacking.params AS json) FROM lacking WHERE j.id = lacking.id
