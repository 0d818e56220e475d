SELECT count(*) AS born FROM job WHERE orchestration_id = %(id)s
