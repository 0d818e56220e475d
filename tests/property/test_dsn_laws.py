"""A Postgres URL with any password in it: it is read right, or refused, and never shown."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from daemon.doctor.commands import as_owner, as_superuser, url_with
from daemon.errors import SettingsInvalid
from daemon.settings import load

characters = "abcXYZ0123456789/#?@:[]%&=;,!$ '+"
passwords = st.text(characters, max_size=20).map(lambda text: f"Zq{text}Zq")


def shown(url: str) -> str:
    """All that a command could print about this URL. Raises SettingsInvalid."""
    settings = load({"HEADCOUNT_DATABASE_URL": url, "HEADCOUNT_PROJECT": "p"})
    kept = settings.database_url.get_secret_value()
    assert make_url(kept).host == "db.example", "SQLAlchemy reads it as we do"
    fixes = (
        as_owner(kept, "owner", "SELECT 1"),
        as_superuser(kept, "SELECT 1"),
        url_with(kept),
        url_with(kept, host="h"),
    )
    return " ".join([repr(settings), *settings.redacted().values(), *fixes])


@given(password=passwords, port=st.sampled_from(["", ":5432", ":0x1", ":99999", ":Zq", ":"]))
@example(password="Zq/x", port="")
@example(password="12Zq", port="")
def test_a_password_as_people_type_it_is_never_shown(password: str, port: str) -> None:
    try:
        text = shown(f"postgresql://me:{password}@db.example{port}/headcount")
    except SettingsInvalid as refusal:
        text = str(refusal)
    assert "Zq" not in text


@given(digits=st.integers(0, 65535), mark=st.sampled_from("/#?@"), password=passwords)
def test_a_password_whose_beginning_looks_like_a_port_is_never_shown(digits: int, mark: str, password: str) -> None:
    try:
        text = shown(f"postgresql://me:{digits}{mark}{password}@db.example/headcount")
    except SettingsInvalid as refusal:
        text = str(refusal)
    assert "Zq" not in text


@given(password=passwords, key=st.sampled_from(["password", "sslpassword", "p%61ssword"]))
def test_an_escaped_password_is_accepted_and_never_shown(password: str, key: str) -> None:
    escaped = quote(password, safe="")
    assert "Zq" not in shown(f"postgresql://me:{escaped}@db.example:5432/headcount")
    assert "Zq" not in shown(f"postgresql://me@db.example/headcount?{key}={escaped}")
