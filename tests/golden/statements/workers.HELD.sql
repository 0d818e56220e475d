SELECT id, attempt, true AS claimed FROM job WHERE worker_id = %(me)s AND status = 'InProgress'
UNION ALL
SELECT id, attempt, false FROM job WHERE occupied_by = %(me)s
