"""What servers of tests on loopback share: their connections, and reading what they are asked."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Asked:
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """By their names in lower case"""

    @property
    def json(self) -> dict[str, Any]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


@dataclass
class LoopbackServer:
    """Serves for as long as its `with` lasts; what it says, `talk` says."""

    connections: int = field(default=0, init=False)
    port: int = field(default=0, init=False)
    _open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = field(default_factory=dict, init=False)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All of one connection, which is closed when this returns."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [task for task in self._open if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever ends it has what is wanted
        finally:
            writer.close()
            del self._open[asyncio.current_task()]


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """The next one on this connection. Raises `asyncio.IncompleteReadError` when there is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    lines = (line.partition(":") for line in head.decode("latin-1").splitlines()[1:])
    headers = {name.lower(): value.strip() for name, colon, value in lines if colon}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, body, headers)
