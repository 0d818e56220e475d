"""Commands that fix a database, ready to be copied into a shell, without any password.

Called by the doctor's database checks. Pure: it runs nothing.
"""

from __future__ import annotations

import shlex
from urllib.parse import quote, unquote, urlsplit


def as_owner(url: str, owner: str, *statements: str) -> str:
    """psql with these statements, logged in to the same database as its owner or superuser."""
    commands = " ".join(f"--command={shlex.quote(statement)}" for statement in statements)
    return f"psql {shlex.quote(url_with(url, user=quote(owner)))} {commands}"


def migrate_as(url: str, owner: str) -> str:
    """`headcount migrate` logged in as the role that owns the tables; the worker's own may not change them."""
    return f"HEADCOUNT_DATABASE_URL={shlex.quote(url_with(url, user=quote(owner)))} headcount migrate"


def as_superuser(url: str, *statements: str) -> str:
    """psql for what concerns roles, whole databases or the server, beside the database that may refuse."""
    return as_owner(urlsplit(url)._replace(path="/postgres").geturl(), "postgres", *statements)


def export(url: str) -> str:
    """The command that points this release to another database."""
    return f"export HEADCOUNT_DATABASE_URL={shlex.quote(url)}"


def database_in(url: str) -> str:
    """The name of the database."""
    return unquote(urlsplit(url).path.lstrip("/"))


def url_with(url: str, *, user: str | None = None, host: str | None = None) -> str:
    """The URL without its password; with another user or host where one is given."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2] if host is None else host
    name = quote(unquote(parts.username or "")) if user is None else user
    query = "&".join(field for field in parts.query.split("&") if "password" not in unquote(field.partition("=")[0]))
    return parts._replace(netloc=f"{name}@{address}" if name else address, query=query).geturl()
