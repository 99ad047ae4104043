"""How a call ended, as a word."""

from collections.abc import Callable

import grpc


def status(call: Callable[[], object]) -> str:
    """Make a call and return the name of its status."""
    try:
        call()
    except grpc.RpcError as error:
        return _name(error)
    return "OK"


def _name(error: grpc.RpcError) -> str:
    assert isinstance(error, grpc.Call)
    return error.code().name
