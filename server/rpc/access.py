"""Which calls an API key opens, checked on every message.

Keys are never logged or repeated in an answer.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc

from server.errors import ConfigInvalid, PermissionDenied, Unauthenticated
from server.rpc.keys import CONTROL, INFER, INFO, KeyRing, read_keys
from server.rpc.watched import Watched

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

OIP = "/inference.GRPCInferenceService/"
OPEN: frozenset[str] = frozenset()

SERVICES = (
    ("/heed.v1.TextService/", frozenset({INFER})),
    ("/grpc.health.v1.Health/", OPEN),
    ("/grpc.reflection.", frozenset({INFO})),
)
"""Whole services, by how their methods begin."""

METHODS = {
    OIP + name: frozenset(groups)
    for groups, names in (
        ((), "ServerLive ServerReady ModelReady"),
        ((INFER,), "ModelInfer ModelStreamInfer"),
        ((INFO,), "ServerMetadata ModelMetadata ModelConfig ModelStatistics RepositoryIndex"),
        ((INFO,), "SystemSharedMemoryStatus CudaSharedMemoryStatus"),
        ((CONTROL,), "RepositoryModelLoad RepositoryModelUnload"),
        ((CONTROL,), "SystemSharedMemoryRegister SystemSharedMemoryUnregister"),
        ((CONTROL,), "CudaSharedMemoryRegister CudaSharedMemoryUnregister"),
        # Reading takes info and changing control; `SettingsGuard` tells the two apart.
        ((INFO, CONTROL), "TraceSetting LogSettings"),
    )
    for name in names.split()
}


def groups_for(method: str) -> frozenset[str]:
    """Return the groups any of which opens a method; none means that it is open to everybody.

    What is not listed takes the group that changes things, so that a new call is never open by
    oversight.
    """
    for start, groups in SERVICES:
        if method.startswith(start):
            return groups
    return METHODS.get(method, frozenset({CONTROL}))


class ApiKeys:
    """Decides for each message whether its key opens the call. Used from the event loop only."""

    def __init__(self, path: Path, reload_s: float) -> None:
        """Read the file; look for a newer one every `reload_s` seconds while calls come.

        Raises:
            ConfigInvalid: the file cannot be used.
        """
        self._path = path
        self._watched = Watched((path,), reload_s)
        self._ring = KeyRing(read_keys(path))
        self._needed: dict[str, frozenset[str]] = {}

    def authorize(self, method: str, context: Context) -> None:
        """Return when the call may go on.

        Raises:
            Unauthenticated: it has no key, or one that is not known.
            PermissionDenied: the key has none of the method's groups.
        """
        needed = self._needed.get(method)
        if needed is None:
            needed = self._needed[method] = groups_for(method)  # as many as there are methods
        if needed:
            self.require(needed, method, context)

    def require(self, groups: frozenset[str], what: str, context: Context) -> None:
        """Return when the call's key has one of the groups; raises as `authorize`."""
        if self._watched.changed():
            self._reload()
        presented = presented_key(context.invocation_metadata() or (), groups)
        if not presented:
            raise Unauthenticated(
                "this call needs an API key; send it as metadata 'authorization: Bearer KEY' or "
                "'x-api-key: KEY'"
            )
        key = self._ring.find(presented)
        if key is None:
            raise Unauthenticated("the API key is not known to this server")
        if key.groups.isdisjoint(groups):
            raise PermissionDenied(
                f"API key '{key.name}' does not open {what}, which needs group "
                f"{' or '.join(sorted(groups))}; it has {', '.join(sorted(key.groups))}"
            )

    def _reload(self) -> None:
        try:
            self._ring = KeyRing(read_keys(self._path))
        except ConfigInvalid as error:
            log.error(  # noqa: TRY400  (the reason says it all)
                "the new file of API keys cannot be used; the one before stays in force",
                extra={"reason": str(error)},
            )
        else:
            log.info("API keys were read again", extra={"file": str(self._path)})


def presented_key(
    metadata: Iterable[tuple[str, str | bytes]], groups: frozenset[str]
) -> str | None:
    """Return the key that a call carries.

    `x-api-key` and Triton's `triton-grpc-protocol-<group>` win over `authorization`, which
    a proxy on the way may have set for itself.
    """
    bearer = None
    for name, value in metadata:
        if not isinstance(value, str):
            continue  # binary metadata, whose names end in -bin
        if name == "x-api-key" or (
            name.startswith("triton-grpc-protocol-") and name.rpartition("-")[2] in groups
        ):
            return value
        if name == "authorization" and value[:7].lower() == "bearer ":
            bearer = value[7:].strip()
    return bearer


class SettingsGuard:
    """Stands before a servicer: reading trace and log settings takes info, changing them control.

    The two share one method of the protocol, so only the message tells them apart.
    """

    def __init__(self, servicer: Any, keys: ApiKeys) -> None:  # noqa: ANN401  (methods by name)
        self._servicer = servicer
        self._keys = keys

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the servicer has)
        return getattr(self._servicer, name)

    async def TraceSetting(self, message: Any, context: Context) -> Any:  # noqa: ANN401, N802
        """Answer as the servicer does, once the key allows it."""
        self._check("TraceSetting", message, context)
        return await self._servicer.TraceSetting(message, context)

    async def LogSettings(self, message: Any, context: Context) -> Any:  # noqa: ANN401, N802
        """Answer as the servicer does, once the key allows it."""
        self._check("LogSettings", message, context)
        return await self._servicer.LogSettings(message, context)

    def _check(self, call: str, message: Any, context: Context) -> None:  # noqa: ANN401
        if message.settings:
            self._keys.require(frozenset({CONTROL}), f"{call} with settings", context)
        else:
            self._keys.require(frozenset({INFO}), f"{call} without settings", context)
