INSERT INTO worker (id, host, revision, slots, pool) VALUES (%(me)s, %(host)s, %(revision)s, %(slots)s, %(pool)s)
