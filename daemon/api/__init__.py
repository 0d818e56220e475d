"""`headcount api`: orchestrations, jobs and workers over HTTP, as JSON under `/v1`.

Needs the extra `api`, which no worker needs; only the command of that name imports it. It is built on the client and on
the queries of the command line, and holds no SQL.
"""
