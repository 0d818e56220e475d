INSERT INTO repair (cause, orchestration_id, detail) VALUES (%(cause)s, %(orchestration_id)s, %(detail)s)
