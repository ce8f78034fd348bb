"""An HTTP server with health and completions as vLLM has them, its sleep mode, and Triton's model control."""

import http.server
import json
import threading
from contextlib import suppress


class Server:
    """What it answers is the test's to say."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self.asleep: bool | None = None
        """None: it has no such mode"""
        self.models: dict[str, str] | None = None
        """Each with its state, as the index has it; prompts are answered by those that are ready. None: no control"""
        self.refused: set[str] = set()
        """Parts of the paths that are answered with an error"""
        self.asked: list[str] = []
        """The paths of all that changes it"""
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/is_sleeping":
                    self.answer(server.sleeping())
                    return
                if self.path == "/v1/models":
                    self.answer({"data": [{"id": name} for name in server.models or ("m",)]})
                    return
                self.send_response(200 if server.ready.is_set() else 400)
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if any(part in self.path for part in server.refused):
                    self.answer({"error": "not now"}, 500)
                elif "completions" in self.path:
                    self.complete(json.loads(body).get("model", ""))
                else:
                    self.answer(server.change(self.path))

            def complete(self, model: str) -> None:
                held = server.models is None or server.models.get(model) == "READY"
                if not server.answers.is_set() or server.asleep or not held:
                    self.send_error(500, "the engine is dead")
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b'data: {"choices": [{"text": "pong", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')

            def answer(self, found: object, status: int = 200) -> None:
                body = json.dumps({} if found is None else found).encode()
                with suppress(ConnectionError):
                    self.send_response(404 if found is None else status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def sleeping(self) -> dict[str, bool] | None:
        return None if self.asleep is None else {"is_sleeping": self.asleep}

    def change(self, path: str) -> object:
        """None for what it does not have."""
        if path == "/v2/repository/index" and self.models is not None:
            return [{"name": name, "version": "1", "state": state} for name, state in self.models.items()]
        self.asked.append(path)
        if path.startswith(("/sleep", "/wake_up")) and self.asleep is not None:
            self.asleep = path.startswith("/sleep")
            return {"status": "done"}
        if path.startswith("/v2/repository/models/") and self.models is not None:
            model, verb = path.removeprefix("/v2/repository/models/").split("/")
            self.models[model] = "READY" if verb == "load" else "UNAVAILABLE"
            return {}
        return None

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
