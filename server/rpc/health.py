"""grpc.health.v1: Check and Watch, for the whole server under "" and for each model by name."""

from grpc_health.v1 import health, health_pb2

from server.registry import Registry, State

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
        serving = {entry.name for entry in self._registry.entries() if entry.state is State.READY}
        for name in {entry.name for entry in self._registry.entries()}:
            await self.servicer.set(name, SERVING if name in serving else NOT_SERVING)

    async def leave(self) -> None:
        """Answer NOT_SERVING for good: the server is going away."""
        await self.servicer.enter_graceful_shutdown()
