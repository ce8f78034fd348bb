"""A registry of container images on loopback: as much of the distribution API as `docker pull` asks for.

https://distribution.github.io/distribution/spec/api/
"""

import base64
import gzip
import hashlib
import http.server
import io
import json
import secrets
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PIECE = 64 << 10


@dataclass
class Registry:
    address: str = ""
    """host:port"""
    manifests: dict[str, bytes] = field(default_factory=dict)
    """`name/tag` and `name/digest` -> manifest"""
    blobs: dict[str, bytes] = field(default_factory=dict)
    piece_s: float = 0.0
    """Pause after each piece of a blob"""
    password: str = ""
    """Who asks must give it"""
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, *, layers: int = 3, layer_bytes: int = 1 << 20) -> str:
        """An image of random files. Returns its reference."""
        described, diff_ids = [], []
        for number in range(layers):
            tar = _layer(f"data-{number}", secrets.token_bytes(layer_bytes))
            packed = gzip.compress(tar, 1)
            diff_ids.append(_digest(tar))
            described.append({"mediaType": LAYER, "size": len(packed), "digest": self._blob(packed)})
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(config), "digest": self._blob(config)},
                "layers": described,
            }
        ).encode()
        self.manifests[f"{name}/latest"] = self.manifests[f"{name}/{_digest(manifest)}"] = manifest
        return f"{self.address}/{name}:latest"

    def _blob(self, data: bytes) -> str:
        self.blobs[_digest(data)] = data
        return _digest(data)


@contextmanager
def registry() -> Iterator[Registry]:
    """Serves until the end of the block. Docker takes one on loopback without TLS."""
    served = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if served.password and self.headers.get("Authorization") != _basic(served.password):
                self._answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')
                return
            parts = self.path.strip("/").split("/")
            if parts == ["v2"]:
                self._answer(200, b"{}")
            elif len(parts) > 3 and parts[-2] == "manifests":
                key = f"{'/'.join(parts[1:-2])}/{parts[-1]}"
                self._found(served.manifests.get(key), MANIFEST, "MANIFEST_UNKNOWN")
            elif len(parts) > 3 and parts[-2] == "blobs":
                self._found(served.blobs.get(parts[-1]), "application/octet-stream", "BLOB_UNKNOWN")
            else:
                self._answer(404, b"{}")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _found(self, data: bytes | None, kind: str, code: str) -> None:
            if data is None:
                self._answer(404, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode())
            else:
                self._answer(200, data, kind)

        def _answer(self, status: int, data: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            if kind == MANIFEST:
                self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                for start in range(0, len(data), PIECE):
                    self.wfile.write(data[start : start + PIECE])
                    if served.piece_s and len(data) > PIECE:
                        time.sleep(served.piece_s)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _layer(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"user:{password}".encode()).decode()
