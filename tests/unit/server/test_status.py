"""Every error a caller can see has a code."""

import inspect

import grpc

from server import errors
from server.metrics import REASONS as LABELS
from server.rpc.status import CODES, REASONS, code_of, reason_of


def domain_errors() -> list[type[errors.ServeError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ServeError) and kind is not errors.ServeError
    ]


def test_every_error_is_in_the_table() -> None:
    assert set(domain_errors()) == set(CODES)


def test_subclasses_have_the_code_of_their_kind() -> None:
    assert code_of(errors.QueueFull("x")) is code_of(errors.Overloaded("x"))
    assert code_of(errors.TooLong("x")) is grpc.StatusCode.INVALID_ARGUMENT


def test_reasons_are_those_that_the_metrics_know() -> None:
    assert set(REASONS.values()) == set(LABELS)
    assert reason_of(errors.RunFailed("x")) == ""
