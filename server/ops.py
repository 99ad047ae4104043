"""The operators' HTTP port: /metrics, /livez, /readyz. Knows no models and no gRPC.

Runs on threads of its own, so that probes answer while the event loop is busy.
"""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from server.errors import ConfigInvalid

POLL_S = 0.05
"""How soon `close` is noticed."""
TEXT = "text/plain; charset=utf-8"


class Ops:
    """A small HTTP server over a metrics registry and a readiness test."""

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, is_ready: Callable[[], bool]
    ) -> None:
        """Bind and start to serve.

        Raises:
            ConfigInvalid: the address cannot be bound.
        """
        handler = _handler(registry, is_ready)
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise ConfigInvalid(
                f"cannot listen on {host}:{port}: {error.strerror}; change --ops-host or --ops-port"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="ops", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(
    registry: CollectorRegistry, is_ready: Callable[[], bool]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET on three paths."""

        timeout = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                # Newer clients negotiate OpenMetrics; the others get the text format.
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(registry))
            elif path == "/livez":
                self._answer(HTTPStatus.OK, TEXT, b"live\n")
            elif path == "/readyz":
                ready = is_ready()
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, TEXT, b"ready\n" if ready else b"not ready\n")
            else:
                self._answer(HTTPStatus.NOT_FOUND, TEXT, b"use /metrics, /livez or /readyz\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep probes out of the log."""

    return Handler
