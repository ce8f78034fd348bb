#!/usr/bin/env python3
"""Stands where tritonserver stands, takes its port options, and misbehaves as FAULT says."""

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULT = os.environ["FAULT"]
PORTS = {word.split("=")[0]: int(word.split("=")[1]) for word in sys.argv[1:] if "-port=" in word}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"\x00\xff<html>{} " * 50 if self.path == "/metrics" and FAULT == "rubbish" else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_response(200 if FAULT == "endless" else 501)
        self.end_headers()
        while FAULT == "endless":
            self.wfile.write(b" ")
            time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        pass


def hold(port: int) -> None:
    """Accepts, and never answers."""
    listener = socket.create_server(("127.0.0.1", port))
    held = []
    while True:
        held.append(listener.accept())


def serve(port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if FAULT == "exits":
    sys.stderr.write("E0101 00:00:00 1 main.cc:1] error: there is no model\n")
    sys.exit(3)
if FAULT == "log":
    out = sys.stdout.buffer
    out.write(b"before\n" + b"x" * 10_000_000 + b"\n")
    out.write(bytes(range(256)) + b"\n")
    out.write(b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\x1b[31mred\x1b[0m after\n")
    out.flush()
for port in PORTS.values():
    threading.Thread(target=hold if FAULT == "silent" else serve, args=(port,), daemon=True).start()
while True:
    time.sleep(60)
