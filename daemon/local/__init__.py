"""The servers that `demo`, `dev` and the tests start on this machine: Postgres and Pub/Sub.

Called by the command line and the test harness. Nothing here runs in production, and nothing
here may be used as a silent replacement for a resource that is missing there.
"""

from daemon.errors import HeadcountError


class LocalServerError(HeadcountError):
    """A server on this machine could not be found, started or stopped."""
