"""Alembic's entry: runs the migrations on the connection that `daemon.postgres.migrations` hands over.

There is no alembic.ini; `headcount migrate` builds the configuration in code.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=True, version_table="headcount_schema")
with context.begin_transaction():
    context.run_migrations()
