SELECT count(*) FROM job WHERE orchestration_id = %(id)s AND error ->> 'kind' = 'Cancelled'
