"""A stand-in for the Hugging Face hub, on loopback: refuses as the hub does, or serves one model's files.

The headers and words are the hub's own; https://huggingface.co/docs/huggingface_hub/package_reference/utilities tells
what its client makes of them. In a log its address becomes that of the hub.
"""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HUB = "https://huggingface.co"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str = ""
    """Of X-Error-Code"""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def hub(answer: Refusal | Path, *, sizes: Mapping[str, int] | None = None) -> Iterator[str]:
    """Its address. A folder is served as any repository; `sizes`: files that it says are larger than they are."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if isinstance(answer, Refusal):
                refused = {"X-Error-Code": answer.code, "X-Error-Message": answer.message, **answer.headers}
                self._send(answer.status, json.dumps({"error": answer.message}).encode(), refused)
                return
            path, _, _ = self.path.partition("?")
            _, resolve, name = path.partition("/resolve/")
            files = {file.name: file for file in answer.iterdir() if file.is_file()}
            if resolve:
                self._file(files.get(name.partition("/")[2]))
            elif path.startswith("/api/models/") and "/tree/" in path:
                tree = [
                    {"type": "file", "path": name, "size": _size(file), "oid": COMMIT} for name, file in files.items()
                ]
                self._send(200, json.dumps(tree).encode(), {})
            elif path.startswith("/api/models/"):
                listed = [{"rfilename": name} for name in files]
                self._send(200, json.dumps({"id": "m", "sha": COMMIT, "siblings": listed, "tags": []}).encode(), {})
            else:
                self._send(404, b"{}", {})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def _file(self, file: Path | None) -> None:
            if file is None:
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
                return
            data = file.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()}"'
            told = _size(file)
            headers = {"ETag": tag, "X-Repo-Commit": COMMIT, "X-Linked-Size": str(told), "X-Linked-ETag": tag}
            self._send(200, data, headers, length=told)

        def _send(self, status: int, data: bytes, headers: Mapping[str, str], length: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) if length is None else length))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self.command != "HEAD":
                    self.wfile.write(data)
                    for _ in range((length or 0) >> 20):
                        self.wfile.write(bytes(1 << 20))

        def log_message(self, format: str, *args: object) -> None:
            pass

    def _size(file: Path) -> int:
        return (sizes or {}).get(file.name, file.stat().st_size)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
