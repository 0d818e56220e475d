SELECT set_config('headcount.worker_role', %(role)s, true)
