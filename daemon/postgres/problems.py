"""What an error of the database may say: the server's sentence, never a value that was bound or stored.

Called by `database` for every error that passes SQLAlchemy, by `pipeline` for the others, and by the command line.
Postgres quotes rows and values in DETAIL and CONTEXT, and in the sentence itself when a value can't be read.
"""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from daemon.errors import DatabaseNotReady

DOCTOR = "headcount doctor --only database"
_DATA_CLASS = "22"
_QUOTED = re.compile(r'".*"', re.S)  # to the last quote: a value may hold quotes itself
_AGAIN = ("40P01", "40001", "55P03", "57014")
_DENIED = "42501"
_MISSING = ("42P01", "42703", "3F000")


def sentence(error: psycopg.Error) -> str:
    """The server's own sentence without values; the text of an error that no server sent."""
    primary = error.diag.message_primary
    if error.sqlstate is None or primary is None:
        return str(error)
    return _QUOTED.sub('"***"', primary) if error.sqlstate.startswith(_DATA_CLASS) else primary


def hide_values(error: psycopg.Error) -> None:
    """Let the error's text be its sentence; its `diag` still has everything for code that asks."""
    error.args = (sentence(error), *error.args[1:])


def on_error(context: ExceptionContext) -> None:
    """For SQLAlchemy's event `handle_error`: the same for the driver's error and for the one that wraps it."""
    error, wrapper = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error):
        hide_values(error)
        if wrapper is not None:
            kind = type(error)
            wrapper.args = (f"({kind.__module__}.{kind.__name__}) {error}",)


def as_refusal(error: BaseException) -> DatabaseNotReady | None:
    """What a person is told about an error of the database, with the command that helps; None for any other error."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(original, psycopg.Error):
        return None
    said = " ".join(sentence(original).split()).rstrip(".")
    if original.sqlstate == _DENIED:
        return DatabaseNotReady(f"The database refuses this role: {said}.", DOCTOR)
    if original.sqlstate in _MISSING:
        return DatabaseNotReady(f"The database is not as its migrations made it: {said}.", DOCTOR)
    if original.sqlstate in _AGAIN:
        return DatabaseNotReady(f"The database gave the statement up, and it can be tried again: {said}.")
    return DatabaseNotReady(f"The database refused: {said} ({type(original).__name__}).", DOCTOR)
