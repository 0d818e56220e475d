"""A job that is any shell script, which is told a folder to write in."""

from __future__ import annotations

from pydantic import BaseModel

from daemon import Command, JobContext, job


class RunScript(BaseModel):
    """The script, and the folder that is its current one."""

    script: str
    folder: str


@job("run_script", executor="command", max_attempts=1)
def run_script(params: RunScript, ctx: JobContext) -> Command:
    """Run it, with the number of the attempt as its argument."""
    return Command(["sh", "-c", params.script, "script", str(ctx.attempt)], cwd=params.folder)
