"""`headcount link`: a link with which somebody without credentials follows the progress of one orchestration.

Called by people and scripts, on a machine that has the API's keys. Standard output is the link's path, or its JSON.
"""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from daemon.cli.options import AsJson, OrchestrationId, duration
from daemon.cli.output import Exit, echo, echo_err, echo_json
from daemon.errors import StartupError
from daemon.progress_link import Shown

if TYPE_CHECKING:
    from daemon.progress_link import ProgressLink
    from daemon.settings import Settings

DEFAULT = "counts,progress"


def link(
    orchestration_id: OrchestrationId,
    expires: Annotated[str, typer.Option(metavar="24h", help="It opens nothing after so long.")] = "24h",
    show: Annotated[
        str, typer.Option(metavar="WHAT,...", help=f"What it shows: {', '.join(one.value for one in Shown)}.")
    ] = DEFAULT,
    url: Annotated[str, typer.Option(metavar="https://...", help="The API's own address, before the path.")] = "",
    revoke: Annotated[UUID | None, typer.Option(metavar="LINK", help="Revoke this link of it instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a link to the progress of one orchestration, for somebody without credentials, or revoke one."""
    import asyncio

    from daemon.settings import load

    settings = load(without=("project",))
    if revoke is not None:
        if not asyncio.run(_revoke(settings, revoke)):
            echo_err(f"no link has the id {revoke}", style="bold red")
            raise typer.Exit(Exit.NOT_FOUND)
        echo("revoked; streams that it has opened end within 15 seconds")
        return
    shown = _shown(show)
    token, made = asyncio.run(_make(settings, orchestration_id, shown, duration(expires).total_seconds()))
    path = f"{url.rstrip('/')}/v1/orchestrations/{orchestration_id}/events?link={token}"
    if as_json:
        echo_json({"id": made.id, "path": path, "token": token, "show": shown, "expires_at": made.expires_at})
        return
    echo(path)
    echo_err(f"until {made.expires_at.astimezone():%Y-%m-%d %H:%M:%S}; revoke it with --revoke {made.id}")


async def _make(
    settings: Settings, orchestration_id: UUID, shown: list[Shown], seconds: float
) -> tuple[str, ProgressLink]:
    from daemon.postgres.database import async_engine
    from daemon.postgres.links import Links
    from daemon.postgres.orchestrations import Orchestrations
    from daemon.rules.link_tokens import LinkClaims, parse_keys, sign

    try:
        keys = parse_keys(settings.api_link_keys.get_secret_value())
    except ValueError as error:
        raise StartupError(f"HEADCOUNT_API_LINK_KEYS: {error}.") from None
    if not keys:
        problem = "No key signs links here: HEADCOUNT_API_LINK_KEYS is not set."
        raise StartupError(problem, "export HEADCOUNT_API_LINK_KEYS=...  # as the API has it")
    engine = async_engine(settings.database_url.get_secret_value(), 1, settings.database_pooler)
    try:
        await Orchestrations(engine).state(orchestration_id)
        made = await Links(engine).create(orchestration_id, shown, seconds, _caller())
    finally:
        await engine.dispose()
    key_id, key = next(iter(keys.items()))
    return sign(LinkClaims(made.id, orchestration_id, int(made.expires_at.timestamp())), key_id, key), made


async def _revoke(settings: Settings, link_id: UUID) -> bool:
    from daemon.postgres.database import async_engine
    from daemon.postgres.links import Links

    engine = async_engine(settings.database_url.get_secret_value(), 1, settings.database_pooler)
    try:
        return await Links(engine).revoke(link_id, _caller())
    finally:
        await engine.dispose()


def _shown(text: str) -> list[Shown]:
    try:
        return [Shown(part.strip()) for part in text.split(",")]
    except ValueError:
        known = ", ".join(one.value for one in Shown)
        raise typer.BadParameter(f"{text!r} names something else than {known}") from None


def _caller() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
