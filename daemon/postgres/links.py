"""Makes, finds and revokes progress links, and keeps the audit.

Called by the API and by `headcount link`. Tokens are made elsewhere: no row holds anything that opens something.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.statements import links as sql
from daemon.progress_link import AuditEntry, ProgressLink, Shown

LINKS_SHOWN = 1_000


class Links:
    """The links of all orchestrations."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, orchestration_id: UUID, show: Collection[Shown], lasts: float, caller: str) -> ProgressLink:
        """A new link that expires in `lasts` seconds."""
        shown = [one.value for one in Shown if one in show]
        values = {
            "id": uuid4(),
            "orchestration_id": orchestration_id,
            "shown": shown,
            "caller": caller,
            "lasts": lasts,
        }
        async with self._engine.begin() as connection:
            row = (await connection.execute(sql.CREATE, values)).mappings().one()
            detail = f"{row['id']} until {row['expires_at']:%Y-%m-%dT%H:%M:%SZ}, shows {', '.join(shown)}"
            await connection.execute(sql.AUDIT, _audit(caller, "link", orchestration_id, 1, detail))
        return _link(row)

    async def revoke(self, link_id: UUID, caller: str) -> bool:
        """Let it open nothing any more; whether there is such a link."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(sql.REVOKE, {"id": link_id})).first()
            if row is not None:
                values = _audit(caller, "revoke", row.orchestration_id, 1, str(link_id))
                await connection.execute(sql.AUDIT, values)
        return row is not None

    async def of(self, orchestration_id: UUID) -> list[ProgressLink]:
        """The links of an orchestration, the newest first."""
        async with self._engine.connect() as connection:
            values = {"id": orchestration_id, "limit": LINKS_SHOWN}
            rows = (await connection.execute(sql.OF_ORCHESTRATION, values)).mappings().all()
        return [_link(row) for row in rows]

    async def valid(self, link_ids: Sequence[UUID]) -> dict[UUID, ProgressLink]:
        """Those of these links that are there, not revoked and not expired."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sql.VALID, {"ids": list(link_ids)})).mappings().all()
        return {row["id"]: _link(row) for row in rows}


class Audit:
    """Who asked for which change."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def around(self, caller: str, action: str, orchestration_id: UUID, work: Callable[[], Awaitable[int]]) -> int:
        """Note who asks for a change, make it, and note how many rows it changed: what it returns."""
        async with self._engine.begin() as connection:
            values = _audit(caller, action, orchestration_id, None, "")
            number = (await connection.execute(sql.AUDIT, values)).scalar_one()
        count = await work()
        async with self._engine.begin() as connection:
            await connection.execute(sql.AUDIT_DONE, {"id": number, "changed": count})
        return count

    async def entries(
        self, after: int, limit: int, action: str | None = None, orchestration_id: UUID | None = None
    ) -> list[AuditEntry]:
        """Entries with a number below `after`, the newest first."""
        values = {"after": after, "limit": limit, "action": action, "of_id": orchestration_id}
        async with self._engine.connect() as connection:
            return [AuditEntry(**row) for row in (await connection.execute(sql.AUDITED, values)).mappings()]


def _audit(caller: str, action: str, orchestration_id: UUID, count: int | None, detail: str) -> dict[str, object]:
    return {
        "caller": caller,
        "action": action,
        "orchestration_id": orchestration_id,
        "changed": count,
        "detail": detail,
    }


def _link(row: RowMapping) -> ProgressLink:
    return ProgressLink(**{**row, "show": tuple(Shown(one) for one in row["show"])})
