"""The Postgres floor: the only home of sqlalchemy, psycopg and SQL.

`engine/` sees it through its own small protocols; `service` builds it. Every statement stands in `statements/`.
"""
