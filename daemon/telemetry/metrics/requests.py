"""The API's requests as series, and as log lines where an operator should know.

Built for `headcount api`. A route is named by its template, never by its path, so that no label grows; a line never
holds a query, a header or a body, for those hold tokens and params.
"""

from __future__ import annotations

import structlog
from structlog.typing import FilteringBoundLogger

from daemon.telemetry.limiter import Limiter
from daemon.telemetry.log_format import ROOT_LOGGER
from daemon.telemetry.metrics.registry import TIME_BUCKETS, MetricsRegistry

PATH_SHOWN = 200


class RequestMetrics:
    """Counts requests and writes lines about those that were refused or failed."""

    def __init__(self, registry: MetricsRegistry, limiter: Limiter | None = None) -> None:
        self._log: FilteringBoundLogger = structlog.get_logger(ROOT_LOGGER)
        self._limiter = limiter or Limiter()
        self._requests = registry.counter(
            "headcount_api_requests_total", "Requests answered by the API.", "method", "route", "status"
        )
        self._seconds = registry.histogram(
            "headcount_api_request_seconds", "From a request to its answer's beginning.", TIME_BUCKETS, "route"
        )
        self._refusals = registry.counter(
            "headcount_api_refusals_total", "Requests without the credentials or the role they need.", "reason"
        )
        self.streams = registry.gauge("headcount_api_streams", "Streams and long polls that are open.")
        self._looks = registry.histogram(
            "headcount_api_look_seconds", "One look at all that is followed.", TIME_BUCKETS
        )

    def serving(self, address: str, auth: str) -> None:
        """The API answers from now on."""
        self._log.info("the API answers", address=address, auth=auth)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer began `seconds` after its request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str, method: str, path: str, request_id: str, detail: str) -> None:
        """A request lacked what it needs; its author was not told what. `detail` holds no secret."""
        self._refusals.labels(reason).inc()
        if self._limiter.allows(f"refused {reason}"):
            self._log.warning(
                "a request was refused",
                reason=reason,
                method=method,
                path=path[:PATH_SHOWN],
                request_id=request_id,
                detail=detail,
            )

    def failed(self, error: BaseException, method: str, path: str, request_id: str) -> None:
        """A request ended with an error of ours, or of the database."""
        if self._limiter.allows(f"failed {type(error).__name__}"):
            text = "a request failed"
            self._log.error(text, method=method, path=path[:PATH_SHOWN], request_id=request_id, exc_info=error)

    def looked(self, seconds: float) -> None:
        """The reader of the streams has asked the database for everything that is followed."""
        self._looks.observe(seconds)

    def look_failed(self, error: BaseException) -> None:
        """The database did not answer the reader of the streams; it asks again."""
        if self._limiter.allows("look"):
            text = "the streams wait for the database"
            self._log.warning(text, problem=f"{type(error).__name__}: {error}")
