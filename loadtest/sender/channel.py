"""Connections to the server under test: bytes out, bytes and a status in.

Knows gRPC. Keeps no time, no record, and does not look into a message.
"""

from typing import Any

import grpc

from loadtest.errors import RunFailed
from loadtest.sender.order import Security

CHANNEL_OPTIONS: dict[str, int] = {
    # Without a pool of its own, every channel to one address shares one TCP connection.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": 64 << 20,
    # What is measured is one attempt at this very server.
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    # A server that comes back is found within a second, not after minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}

# Calls of the sync API on raw bytes; their types in grpc's stubs are generic over messages.
Method = Any


class Connection:
    """One TCP connection, and the methods called on it."""

    def __init__(self, target: str, security: Security) -> None:
        self._channel = _channel(target, security)
        self._methods: dict[str, Method] = {}

    def unary(self, method: str) -> Method:
        """Return what calls a method with one message and one answer."""
        # No serializers: bodies are built before the run, answers are read after the clock.
        return self._methods.get(method) or self._keep(method, self._channel.unary_unary(method))

    def stream(self, method: str) -> Method:
        """Return what calls a method with messages and answers one after the other."""
        return self._methods.get(method) or self._keep(method, self._channel.stream_stream(method))

    def connect(self, limit_s: float) -> None:
        """Wait until it is established.

        Raises:
            RunFailed: it is not within so many seconds.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout=limit_s)
        except grpc.FutureTimeoutError as error:
            raise RunFailed(
                f"the server accepted fewer connections than asked for within {limit_s:g} s;"
                " lower `connections` in the scenario"
            ) from error

    def close(self) -> None:
        """Give it back. Calls in flight end as cancelled."""
        self._channel.close()

    def _keep(self, method: str, callable_: Method) -> Method:
        self._methods[method] = callable_
        return callable_


def _channel(target: str, security: Security) -> grpc.Channel:
    options: list[tuple[str, Any]] = list(CHANNEL_OPTIONS.items())
    if not security.is_tls:
        return grpc.insecure_channel(target, options=options)
    if (security.certificate is None) != (security.key is None):
        raise RunFailed("a client's certificate and its key go together; give both or neither")
    if security.server_name is not None:
        options.append(("grpc.ssl_target_name_override", security.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=security.ca,
        private_key=security.key,
        certificate_chain=security.certificate,
    )
    return grpc.secure_channel(target, credentials, options=options)
