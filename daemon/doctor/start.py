"""What of the database a worker can't run with, asked once before it starts.

Called by `headcount run`. It is the fatal part of the doctor's questions, on one connection, so that a worker refuses
with the same sentence and the same command. A database that does not answer is left to the start itself.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from daemon.doctor.database import fatal_findings
from daemon.errors import DatabaseNotReady
from daemon.postgres.database import sync_engine
from daemon.settings import Settings


def refuse_database(settings: Settings) -> None:
    """Raises DatabaseNotReady with the first fatal finding: age, standby, privileges, migrations, read-only."""
    engine = sync_engine(settings.database_url.get_secret_value(), pooler=settings.database_pooler, patience=5)
    try:
        with engine.connect() as connection:
            for finding in fatal_findings(connection, settings):
                raise DatabaseNotReady(finding.what, finding.fix)
    except DBAPIError:
        return
    finally:
        engine.dispose()
