DELETE FROM job WHERE id = ANY(CAST(%(ids)s AS uuid[]))
