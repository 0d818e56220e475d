"""Every statement of daemon/postgres/statements, under `module.NAME`, for the test of the plans."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from sqlalchemy import TextClause

from daemon.postgres import statements

WITHOUT_A_PLAN = {"grants"}  # privileges are given by DO, which has none
MODULES = [
    import_module(f"{statements.__name__}.{found.name}")
    for found in pkgutil.iter_modules(statements.__path__)
    if found.name not in WITHOUT_A_PLAN
]
NAMED: dict[str, TextClause] = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, TextClause)
}
