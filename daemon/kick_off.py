"""What a kick-off asks for, checked before anything is stored: what could never run is refused.

Used by the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from pydantic import ValidationError

from daemon.errors import DecodeError, RequestRefused, ResultNotStorable
from daemon.orchestration import NewOrchestration
from daemon.registry import Handler
from daemon.rules.messages import MAX_COUNT, check_name, check_tags
from daemon.rules.storable import MAX_DEPTH, encode_json, is_too_deep

PARAMS_LIMIT = 10 * 1024 * 1024


def new_orchestration(
    job_name: str,
    params: Iterable[object],
    tags: Mapping[str, str],
    deadline: timedelta | None,
    start_at: datetime | None,
    idempotency_key: str | None,
    parallelism: int | None,
) -> NewOrchestration:
    """What is to be created; it has a new id. Raises RequestRefused, with the instance and never with a value."""
    try:
        check_name(job_name)
        check_tags(tags)
        texts = [encode_json(one, PARAMS_LIMIT, reveals=True) for one in params]
    except (DecodeError, ResultNotStorable) as error:
        raise RequestRefused(str(error)) from None
    deep = next((index for index, text in enumerate(texts) if is_too_deep(text.encode())), None)
    if deep is not None:
        raise RequestRefused(f"params of instance {deep} nest over {MAX_DEPTH} levels deep")
    wrong = next((index for index, text in enumerate(texts) if not text.startswith("{")), None)
    if wrong is not None:
        raise RequestRefused(f"params of instance {wrong} are not a JSON object")
    if len(texts) > MAX_COUNT:
        raise RequestRefused(f"{len(texts)} instances; the limit is {MAX_COUNT}")
    if start_at is not None and start_at.tzinfo is None:
        raise RequestRefused("start_at needs a time zone")
    if parallelism is not None and not 0 < parallelism <= MAX_COUNT:
        raise RequestRefused(f"parallelism is a number of instances from 1, not {parallelism}")
    seconds = None if deadline is None else deadline.total_seconds()
    return NewOrchestration(uuid4(), job_name, texts, dict(tags), seconds, start_at, idempotency_key, parallelism)


def check_params(handler: Handler, texts: Sequence[str]) -> None:
    """Params as JSON against the handler that will get them. Raises RequestRefused for the first that do not fit."""
    for index, text in enumerate(texts):
        try:
            handler.params.validate_json(text)
        except ValidationError as error:
            raise RequestRefused(
                f"params of instance {index} do not fit {handler.name!r}: {handler.why(error)}"
            ) from None
