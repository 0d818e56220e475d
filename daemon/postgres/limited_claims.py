"""Claims of jobs under limits: the statements between the guards, and their parameters.

Called by `claims` for the requests whose job's handler has limits. Nothing here knows who asks or what an answer means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from daemon.job import JobMessage
from daemon.postgres.arrays import Floats, Ints, Texts, Tokens, Uuids
from daemon.postgres.pipeline import Query
from daemon.postgres.statements import limits as sql
from daemon.rules.limits import JobLimit


class LimitedClaims:
    """The limits of a worker's handlers, as arrays that are encoded once."""

    def __init__(self, limits: Iterable[JobLimit] = ()) -> None:
        rows = list(limits)
        self.job_names = frozenset(row.job_name for row in rows)
        self.names = Texts(sorted(self.job_names))
        self._limits: Mapping[str, object] = {
            "limit_jobs": Texts([row.job_name for row in rows]),
            "limit_names": Texts([row.limit_name for row in rows]),
            "limit_sources": Texts([row.source for row in rows]),
            "limit_fields": Texts([row.field for row in rows]),
            "limit_sizes": Ints([row.size for row in rows]),
            "limit_periods": Floats([row.period for row in rows]),
        }

    def queries(self, messages: Sequence[JobMessage], ids: Uuids, tokens: Tokens, me: object) -> list[Query]:
        """Statements of one transaction; the last one but one gives the rows of what was claimed."""
        message_ids = Texts([message.message_id for message in messages])
        jobs = {
            "ids": ids,
            "orchestration_ids": Uuids([message.orchestration_id for message in messages]),
            "indexes": Ints([message.index for message in messages]),
            "counts": Ints([message.count for message in messages]),
            "names": Texts([message.job_name for message in messages]),
            "params": Texts([message.params for message in messages]),
            "message_ids": message_ids,
        }
        claim = {"ids": ids, "tokens": tokens, "message_ids": message_ids, "me": me, **self._limits}
        return [
            (sql.REGISTER_JOBS, jobs),
            (sql.LOCK_KEYS, {"ids": ids, **self._limits}),
            (sql.CLAIM_WITH_PERMITS, claim),
            (sql.REQUIRE_ORCHESTRATIONS_OF_JOBS, {"ids": ids}),
        ]
