SELECT id, CAST(params AS text) = 'null' AS lacks_params FROM job WHERE id = ANY(CAST(%(ids)s AS uuid[]))
