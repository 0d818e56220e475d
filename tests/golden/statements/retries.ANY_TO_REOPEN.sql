SELECT EXISTS (SELECT FROM job
               WHERE orchestration_id = %(id)s AND finish_number IS NOT NULL AND status = 'Errored'
                 AND NOT (CAST(params AS text) = 'null' AND error ->> 'kind' = 'Rejected')) AS some
