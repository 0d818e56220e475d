SELECT id, attempt FROM job WHERE worker_id = %(me)s AND status = 'InProgress'
