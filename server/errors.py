"""What can go wrong, in the domain's own words.

Knows nothing of gRPC or HTTP: `server.rpc.status` turns each class into a code.
"""


class ServeError(Exception):
    """Base of every error that a caller may see. The message says what to change."""


class InvalidRequest(ServeError):
    """The request can never succeed as it stands."""


class TooLong(InvalidRequest):
    """A sequence has more tokens than the model takes."""


class Unsupported(ServeError):
    """The protocol has it, this server does not."""


class ModelNotFound(ServeError):
    """No such model, or no such version of it, in the repository."""


class ModelNotReady(ServeError):
    """The version exists but does not serve now."""


class Retryable(ServeError):
    """Nothing was started; the same call may succeed elsewhere at once, or here later."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """When the caller should come back."""


class Draining(Retryable):
    """The server is shutting down; another replica can help."""


class Overloaded(Retryable):
    """A limit on waiting work is reached."""


class QueueFull(Overloaded):
    """As many requests or tokens wait for this model as may wait."""


class PredictedLate(Overloaded):
    """By the predicted cost of what waits, the caller's deadline would pass in the queue."""


class DeadlineExpired(ServeError):
    """The caller's deadline passed before the answer was ready."""


class Cancelled(ServeError):
    """The caller went away."""


class RunFailed(ServeError):
    """ONNX Runtime failed on this sequence alone."""


class Unforeseen(ServeError):
    """A mistake of the server's own; the log has the trace."""


class Unauthenticated(ServeError):
    """The call carries no key, or one that is not known."""


class PermissionDenied(ServeError):
    """The key is known and does not open this call."""


class AlreadyExists(ServeError):
    """Something of this name is registered already."""


class RegionNotFound(ServeError):
    """No shared memory region of this name is registered."""


class RegionUnusable(ServeError):
    """A shared memory object cannot be opened, or a region is too small for what goes there."""


class ControlDisabled(ServeError):
    """Models are loaded and unloaded by calls only where the server was started for it."""


class LoadFailed(ServeError):
    """A model that was asked for cannot be found or read."""


class ProviderUnavailable(ServeError):
    """The requested execution provider is not really in use."""


class BundleCorrupt(ServeError):
    """A bundle is incomplete, changed since export, or asks for something unknown."""


class WorkerFailed(ServeError):
    """One of several server processes could not start."""


class ConfigInvalid(ServeError):
    """Start-up options contradict each other or are out of range."""
