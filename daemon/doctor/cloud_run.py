"""Whether the Cloud Run Jobs that handlers declare are there, and may be executed.

Called by `examination`, outside any event loop, with the account that the worker will have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import quote

from daemon.doctor.finding import Finding, fatal, loses_work, unchecked
from daemon.errors import CloudRunRefused, CloudRunUnavailable, HandlersInvalid
from daemon.registry import Handler

AREA = "worker"


def check_cloud_run(handlers: Iterable[Handler]) -> list[Finding]:
    """What is wrong with the Cloud Run Jobs of handlers that name one in `@job`; those of others nobody knows."""
    declared = {handler.cloud_run_job: handler for handler in handlers if handler.cloud_run_job is not None}
    return asyncio.run(_check(declared)) if declared else []


async def _check(declared: dict[str, Handler]) -> list[Finding]:
    try:
        from daemon.cloudrun.executions import connect

        executions = connect()
    except ImportError as error:
        what = f"Handlers execute Cloud Run Jobs, and the extra `cloudrun` is not installed: {error}."
        return [fatal(AREA, what, "A worker does not start without it.", "pip install 'headcount[cloudrun]'")]
    except HandlersInvalid as error:
        return [fatal(AREA, error.problem, "A worker does not start without one.", error.fix or "gcloud auth list")]
    findings = []
    for name, handler in declared.items():
        project, region, job = name.split("/")[1::2]
        where = f"--project={quote(project)} --region={quote(region)}"
        named = f"the handler {handler.name} ({handler.location})"
        try:
            missing = await executions.missing_permissions(name)
        except CloudRunUnavailable as error:
            why = f"Whether {named} can run is not known."
            findings.append(unchecked(AREA, f"Cloud Run does not answer: {error}.", why, "headcount doctor"))
        except CloudRunRefused as error:
            what = f"The Cloud Run Job of {named} can't be found: {error}."
            why = "Each of its jobs ends as Errored (NotStarted)."
            findings.append(loses_work(AREA, what, why, f"gcloud run jobs deploy {quote(job)} {where} --image=IMAGE"))
        else:
            if missing:
                what = f"The account here may not execute {name}, as {named} does: it lacks {', '.join(missing)}."
                fix = f"gcloud run jobs add-iam-policy-binding {quote(job)} {where}"
                fix += " --member=serviceAccount:ACCOUNT --role=roles/run.developer"
                findings.append(loses_work(AREA, what, "Each of its jobs ends as Errored (NotStarted).", fix))
    await executions.close()
    return findings
