"""`headcount api`: orchestrations, jobs and workers over HTTP, in the foreground, until SIGTERM or Ctrl-C.

Called by the platform in production. It checks what it can't run without, and leaves everything else to `daemon.api`.
"""

from __future__ import annotations

from daemon.errors import StartupError

EXTRA = ("fastapi", "starlette", "uvicorn")


def api() -> None:
    """Answer over HTTP: kick off, follow, cancel and retry orchestrations, look at jobs, workers and handlers.

    Settings come from HEADCOUNT_* variables: API_HOST and API_PORT, and who is let in (API_TOKENS, API_ACCOUNTS).
    """
    try:
        from daemon.api.server import serve
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRA:
            raise
        raise StartupError("The API needs the extra `api`.", "pip install 'headcount[api]'") from None
    from daemon.postgres.database import sync_engine
    from daemon.postgres.schema_version import check_database
    from daemon.settings import load
    from daemon.telemetry.logs import configure

    settings = load()
    configure(settings.log_format, settings.log_level, project=settings.project)
    engine = sync_engine(settings.database_url.get_secret_value(), timeout=5)
    try:
        check_database(engine)
    finally:
        engine.dispose()
    serve(settings)
