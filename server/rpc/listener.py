"""The gRPC server: limits, keepalive, keys, encryption, services, addresses.

Nothing else creates one.
"""

import logging
from ipaddress import ip_address
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from protos import inference_pb2
from protos.heed.v1 import text_pb2
from server.admission import Admission
from server.config import ServerConfig
from server.control import Control
from server.errors import ConfigInvalid
from server.metrics import Metrics
from server.registry import Registry
from server.rpc import library_services
from server.rpc.access import ApiKeys, SettingsGuard
from server.rpc.boundary import Boundary
from server.rpc.health import Health
from server.rpc.inference import InferenceService
from server.rpc.registration import handlers
from server.rpc.text import TextService
from server.rpc.tls import Certificates
from server.rpc.unix_socket import UnixSocket

log = logging.getLogger(__name__)

KEEPALIVE_MS, KEEPALIVE_PATIENCE_MS = 60_000, 20_000
"""How long a connection may be silent before it is asked for a sign of life, and then for that.
A client that vanished without a word would hold its streams for hours otherwise."""

MIN_PING_INTERVAL_MS = 10_000
"""Load balancers and idle clients may ping this often; more is answered with GOAWAY."""

MAX_METADATA_BYTES = 16 << 10
"""Room for a token and a few tracing headers."""

SPARE_STREAMS = 1000
"""One connection's calls beyond those that admission lets in at once: they are refused at once,
where calls beyond the limit of streams would wait inside the client without a word."""


class Listener:
    """A started or stopped gRPC server, on one address and perhaps a Unix socket."""

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        admission: Admission,
        metrics: Metrics,
        max_message_bytes: int,
        *,
        control: Control,
    ) -> None:
        """Read certificate and keys and set up every service.

        Raises:
            ConfigInvalid: lists what is wrong with the files of certificate and keys.
        """
        self.health = Health(registry)
        self.port = 0
        self._config = config
        self._socket: UnixSocket | None = None
        self._certificates, keys = secured(config)
        self._server = grpc.aio.server(
            options=_options(config, config.max_message_bytes or max_message_bytes)
        )
        authorize = None if keys is None else keys.authorize
        boundary = Boundary(admission, metrics, authorize=authorize)
        inference = InferenceService(registry, config, control)
        guarded = inference if keys is None else SettingsGuard(inference, keys)
        for service, servicer in (
            (inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"], guarded),
            (text_pb2.DESCRIPTOR.services_by_name["TextService"], TextService(registry)),
        ):
            self._server.add_generic_rpc_handlers((handlers(service, servicer, boundary),))
        services = [library_services.health(self.health.servicer, authorize)]
        if config.reflection:
            services.append(library_services.reflected(_service_names(), authorize))
        self._server.add_generic_rpc_handlers(services)

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigInvalid: an address cannot be bound.
        """
        if self._config.unix_socket:
            self._socket = UnixSocket(self._config.unix_socket)
            self._bind(self._socket.address, "--unix-socket")
            self._socket.bound()
        # Last, because a client that knows the port and not the path must find all of the server.
        self.port = self._bind(f"{self._config.host}:{self._config.port}", "--host or --port")
        await self.health.publish()
        await self._server.start()

    def _bind(self, address: str, options: str) -> int:
        certificates = None if address.startswith("unix:") else self._certificates
        try:
            if certificates is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, certificates.credentials())
        except RuntimeError as error:
            raise ConfigInvalid(
                f"cannot listen on {address}: it is in use or not an address of this machine; "
                f"change {options}"
            ) from error

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once and give those under way `grace_s` to finish."""
        await self._server.stop(grace_s)
        if self._socket is not None:
            self._socket.remove()


def _options(config: ServerConfig, max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        # Also the most that a compressed message may expand to.
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", config.max_inflight_requests + SPARE_STREAMS),
        # A second server on the same port would silently take half of the calls.
        ("grpc.so_reuseport", int(config.reuse_port)),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_PATIENCE_MS),
    ]


def secured(config: ServerConfig) -> tuple[Certificates | None, ApiKeys | None]:
    """Return what secures the port.

    Raises:
        ConfigInvalid: lists what is wrong with the files of certificate and keys.
    """
    certificates = keys = None
    problems = []
    if config.tls_cert:
        try:
            certificates = Certificates(config)
        except ConfigInvalid as error:
            problems.append(str(error))
    if config.api_keys:
        try:
            keys = ApiKeys(Path(config.api_keys), config.tls_reload_s)
        except ConfigInvalid as error:
            problems.append(str(error))
    if problems:
        raise ConfigInvalid("\n".join(problems))
    if keys is not None and certificates is None and not _is_loopback(config.host):
        log.warning("API keys cross the network unencrypted; set --tls-cert and --tls-key")
    return certificates, keys


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _service_names() -> list[str]:
    return [
        service.full_name
        for file in (inference_pb2, text_pb2, health_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
