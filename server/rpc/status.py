"""The one table from our errors to gRPC status codes."""

import grpc

from server import errors

CODES: dict[type[errors.ServeError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ModelNotReady: grpc.StatusCode.UNAVAILABLE,
    errors.Retryable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.PredictedLate: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExpired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.RegionNotFound: grpc.StatusCode.NOT_FOUND,
    errors.RegionUnusable: grpc.StatusCode.INTERNAL,
    errors.ControlDisabled: grpc.StatusCode.UNAVAILABLE,
    errors.LoadFailed: grpc.StatusCode.INTERNAL,
    errors.Unforeseen: grpc.StatusCode.INTERNAL,
    errors.RunFailed: grpc.StatusCode.INTERNAL,
    errors.ProviderUnavailable: grpc.StatusCode.INTERNAL,
    errors.BundleCorrupt: grpc.StatusCode.INTERNAL,
    errors.WorkerFailed: grpc.StatusCode.INTERNAL,
    errors.ConfigInvalid: grpc.StatusCode.INTERNAL,
}

REASONS: dict[type[errors.ServeError], str] = {
    errors.InvalidRequest: "validation",
    errors.TooLong: "validation",
    errors.Draining: "draining",
    errors.QueueFull: "queue_full",
    errors.PredictedLate: "predicted_late",
    errors.Overloaded: "inflight_full",
    errors.DeadlineExpired: "expired",
    errors.Cancelled: "cancelled",
    errors.Unauthenticated: "key",
    errors.PermissionDenied: "key",
}
"""Why a call was refused or given up, as the `reason` label of `heed_rejected_total`."""


def code_of(error: errors.ServeError) -> grpc.StatusCode:
    """Return the status code of an error, by its class or the nearest base that has one."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def reason_of(error: errors.ServeError) -> str:
    """Return the metrics label of an error, empty when it is no refusal."""
    return next((REASONS[kind] for kind in type(error).__mro__ if kind in REASONS), "")
