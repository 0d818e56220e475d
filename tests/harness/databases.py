"""A fresh, migrated database for each test, cloned from a template in some tens of milliseconds.

Used by the fixtures in `servers`. It works on any server it may create databases on, the embedded
one or that of HEADCOUNT_TEST_DATABASE_URL, and knows the schema only as "what migrating makes".
"""

import os
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql


class TestDatabases:
    """Databases on one server: a template, made when it is first needed, and its clones."""

    __test__ = False

    def __init__(self, server_url: str, upgrade: Callable[[str], object]) -> None:
        self._server_url = server_url
        self._upgrade = upgrade
        self._template: str | None = None
        self._count = 0

    def migrated(self) -> str:
        """The URL of a new database with the newest schema and no rows."""
        if self._template is None:
            self._template = f"headcount_template_{os.getpid()}_{uuid4().hex[:6]}"
            self._upgrade(self.empty(self._template))
        return self._create(self._next_name(), template=self._template)

    def empty(self, name: str | None = None) -> str:
        """The URL of a new database with nothing in it (for tests of the migrations)."""
        return self._create(name or self._next_name(), template=None)

    def drop(self, url: str) -> None:
        """Drop it, cutting off whoever is connected."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name_in(url))))

    def drop_template(self) -> None:
        if self._template is not None:
            self.drop(self._url(self._template))
            self._template = None

    def _next_name(self) -> str:
        self._count += 1
        return f"headcount_test_{os.getpid()}_{self._count}"

    def _create(self, name: str, template: str | None) -> str:
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._administer(statement)
        return self._url(name)

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _url(self, name: str) -> str:
        return urlsplit(self._server_url)._replace(path=f"/{name}").geturl()


def _name_in(url: str) -> str:
    return urlsplit(url).path.lstrip("/")
