SELECT cause, message_id, worker_id, received_at FROM redelivery WHERE job_id = %(id)s ORDER BY id
