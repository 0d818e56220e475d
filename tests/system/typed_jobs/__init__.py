"""A handler whose params and result are types, one of them a secret."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, SecretStr

from daemon import job


class Login(BaseModel):
    user: str
    password: SecretStr


class Access(BaseModel):
    user: str
    length: int
    since: date


@job("log_in")
def log_in(params: Login) -> Access:
    return Access(user=params.user, length=len(params.password.get_secret_value()), since=date(2026, 1, 2))
