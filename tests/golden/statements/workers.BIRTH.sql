INSERT INTO worker (id, host, revision, slots) VALUES (%(me)s, %(host)s, %(revision)s, %(slots)s)
