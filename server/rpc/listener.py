"""The gRPC server: limits, keepalive, services, address. Nothing else creates one."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos import inference_pb2
from protos.heed.v1 import text_pb2
from server.admission import Admission
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.metrics import Metrics
from server.registry import Registry
from server.rpc.boundary import Boundary
from server.rpc.health import Health
from server.rpc.inference import InferenceService
from server.rpc.registration import handlers
from server.rpc.text import TextService


class Listener:
    """A started or stopped gRPC server on one address."""

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        admission: Admission,
        metrics: Metrics,
        max_message_bytes: int,
    ) -> None:
        self.health = Health(registry)
        self.port = 0
        self._config = config
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                # A second server on the same port would silently take half of the calls.
                ("grpc.so_reuseport", 0),
                # Load balancers and idle clients may ping this often without being sent away.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        boundary = Boundary(admission, metrics)
        inference = InferenceService(registry, config.max_request_sequences)
        for service, servicer in (
            (inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"], inference),
            (text_pb2.DESCRIPTOR.services_by_name["TextService"], TextService(registry)),
        ):
            self._server.add_generic_rpc_handlers((handlers(service, servicer, boundary),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        if config.reflection:
            reflection.enable_server_reflection(_service_names(), self._server)

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigInvalid: the address cannot be bound.
        """
        address = f"{self._config.host}:{self._config.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigInvalid(
                f"cannot listen on {address}: it is in use or not an address of this machine; "
                "change --host or --port"
            ) from error
        await self.health.publish()
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once and give those under way `grace_s` to finish."""
        await self._server.stop(grace_s)


def _service_names() -> list[str]:
    return [
        *(
            service.full_name
            for file in (inference_pb2, text_pb2, health_pb2)
            for service in file.DESCRIPTOR.services_by_name.values()
        ),
        reflection.SERVICE_NAME,
    ]
