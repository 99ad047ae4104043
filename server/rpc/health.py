"""grpc.health.v1: Check and Watch, for the whole server under "" and for each model by name."""

from grpc_health.v1 import health, health_pb2

from server.registry import Registry

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Publishes the registry's state to watchers."""

    def __init__(self, registry: Registry) -> None:
        self.servicer = health.aio.HealthServicer()
        self._registry = registry

    async def publish(self) -> None:
        """Tell watchers what changed. Call it after every change of state."""
        await self.servicer.set("", SERVING if self._registry.is_ready else NOT_SERVING)
        for name in self._registry.names():
            # Asked for each by itself: another change may come while a watcher is told.
            serves = bool(self._registry.ready_models(name))
            await self.servicer.set(name, SERVING if serves else NOT_SERVING)

    async def leave(self) -> None:
        """Answer NOT_SERVING for good: the server is going away."""
        await self.servicer.enter_graceful_shutdown()
