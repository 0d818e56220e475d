"""Every SQL statement of Headcount, one module per operation, each under the name of what it does.

Used only by the modules of `postgres/`. Parameters are bound, never formatted. Lock order everywhere: the own worker
row, jobs by id, orchestrations by id. `index` and `text` are column names, not keywords.
"""
