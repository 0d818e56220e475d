"""Every statement of daemon/postgres/statements, under `module.NAME`, for the test of the plans."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from sqlalchemy import TextClause

from daemon.postgres import statements

MODULES = [import_module(f"{statements.__name__}.{found.name}") for found in pkgutil.iter_modules(statements.__path__)]
NAMED: dict[str, TextClause] = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, TextClause)
}
