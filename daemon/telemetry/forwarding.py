"""The log of a child process: every line is handed to a function, which sends it to the worker.

Called by the entry point of a child. The worker formats, masks and writes the lines (`Observer.handler_logged`).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence

import structlog

from daemon.observe import LogLine
from daemon.rules.storable import storable_text
from daemon.telemetry.log_format import ROOT_LOGGER
from daemon.telemetry.masking import text_of

LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO)
LABELS = ("orchestration_id", "job_id", "job_name", "attempt")  # the worker names the job itself


def forward(send: Callable[[LogLine], None], level: str, own: Sequence[str]) -> None:
    """Hand every line of this process to `send`; levels as in `logs.configure`."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[_Forwarder(send)], level=max(threshold, logging.WARNING), force=True)
    for name in (ROOT_LOGGER, *own):
        logging.getLogger(name).setLevel(threshold)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Forwarder(logging.Handler):
    def __init__(self, send: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((known for known in LEVELS if record.levelno >= known), logging.DEBUG)
            self._send(LogLine(record.name, level, *_text_and_values(record)))
        except Exception:
            self.handleError(record)


def _text_and_values(record: logging.LogRecord) -> tuple[str, dict[str, str]]:
    """Structlog's lines are dicts, those of the standard library are texts."""
    if isinstance(record.msg, dict):
        values = {str(key): _text(value) for key, value in record.msg.items() if key not in LABELS}
        return values.pop("event", ""), values
    error = record.exc_info[1] if record.exc_info else None
    trace = {} if error is None else {"exception": _text("".join(traceback.format_exception(error)).rstrip())}
    return _text(record.getMessage()), trace


def _text(value: object) -> str:
    return storable_text(text_of(value))  # a lone surrogate can't be sent
