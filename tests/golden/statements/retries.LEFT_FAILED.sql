SELECT count(*) FROM job
WHERE orchestration_id = %(id)s AND finish_number <= %(finishes)s AND status = 'Errored'
