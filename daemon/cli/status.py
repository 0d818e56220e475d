"""`headcount status` and `headcount results`: how far an orchestration is, and what came of its instances.

Called by people and programs with the id that a kick-off gave. Reading only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.connection import with_client
from daemon.cli.formatting import instance_as_json, show_instance, show_state, state_as_json, without_secrets
from daemon.cli.options import AsJson, OrchestrationId, Reveal
from daemon.cli.output import Exit, echo_json

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.orchestration import OrchestrationState


def status(
    orchestration_id: OrchestrationId,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until the last one is in.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far an orchestration is. Exit code 1 when instances of it are Errored."""
    from daemon.cli.follow import follow

    async def look(client: Client) -> OrchestrationState:
        if watch:
            return await follow(client, orchestration_id)
        return await client.state(orchestration_id)

    state = with_client(look)
    if as_json:
        echo_json(state_as_json(state))
    else:
        show_state(state)
    raise typer.Exit(Exit.FAILED if state.errored else Exit.OK)


def results(
    orchestration_id: OrchestrationId,
    failed: Annotated[bool, typer.Option("--failed", help="Only the Errored instances.")] = False,
    reveal: Reveal = False,
    as_json: AsJson = False,
) -> None:
    """Print every instance with its params as it finishes, until the last one is in. Exit code 1 if any is Errored."""
    from daemon.job import Status

    async def stream(client: Client) -> bool:
        fine = True
        finished = client.orchestration(orchestration_id).stream_results(Status.ERRORED if failed else None)
        async for result in without_secrets(finished, client, orchestration_id, reveal=reveal):
            fine = fine and result.error is None
            if as_json:
                echo_json(instance_as_json(result))
            else:
                show_instance(result)
        return fine

    raise typer.Exit(Exit.OK if with_client(stream) else Exit.FAILED)
