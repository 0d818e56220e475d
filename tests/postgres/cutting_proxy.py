"""A proxy before Postgres that cuts a link after a statement was executed and before its answer comes back.

Used by the tests of lost answers: what the client sees is a broken link, what the server did stays done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict

IDLE = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, outside a transaction: what was sent is committed
CHUNK = 65536


class CuttingProxy:
    """Forwards to one server. `cut_after(text)` arms it: the next statement with that text loses its answer."""

    def __init__(self, server_url: str) -> None:
        given = conninfo_to_dict(server_url)
        self._host, self._port = str(given.get("host", "127.0.0.1")), str(given.get("port", 5432))
        self._database, self._user = given["dbname"], given.get("user", "postgres")
        self._marker: bytes | None = None
        self.url = ""
        self.cuts = 0
        self.packets = 0

    def cut_after(self, marker: bytes) -> None:
        """Lose the answer of the next statement that holds these bytes, or of the COMMIT that ends its transaction."""
        self._marker = marker

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = "sslmode=disable&gssencmode=disable"
        self.url = f"postgresql://{self._user}@127.0.0.1:{port}/{self._database}?{options}"
        yield self
        server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            opened = asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            opened = asyncio.open_connection(self._host, int(self._port))
        server, to_server = await opened
        armed = asyncio.Event()
        ways = [
            asyncio.create_task(self._towards_server(client, to_server, armed)),
            asyncio.create_task(self._towards_client(server, to_client, armed)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for writer in (to_client, to_server):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _towards_server(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, armed: asyncio.Event
    ) -> None:
        tail = b""
        while data := await client.read(CHUNK):
            self.packets += 1
            seen, tail = tail + data, data[-100:]
            if self._marker is not None and self._marker in seen:
                self._marker = None
                armed.set()
            to_server.write(data)
            await to_server.drain()

    async def _towards_client(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, armed: asyncio.Event
    ) -> None:
        while data := await server.read(CHUNK):
            if armed.is_set() and data.endswith(IDLE):
                self.cuts += 1
                return
            to_client.write(data)
            await to_client.drain()
