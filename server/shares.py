"""What several workers have in common: the machine's cores, and one port.

Starts no process and listens nowhere.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise

from server.config import ServerConfig
from server.errors import ConfigInvalid


def shares(config: ServerConfig, cores: list[int]) -> list[tuple[ServerConfig, list[int]]]:
    """Return configuration and cores of each worker: neighbouring cores, as many for each as go."""
    num = config.workers
    return [
        (
            replace(
                config,
                workers=1,
                reuse_port=True,
                threads=high_thread - low_thread,
                device_memory_bytes=config.device_memory_bytes // num,
                ops_host="127.0.0.1",
                ops_port=0,
            ),
            cores[low:high],
        )
        for (low, high), (low_thread, high_thread) in zip(
            _split(len(cores), num), _split(config.threads, num), strict=True
        )
    ]


def _split(total: int, num: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of `num` parts that differ by 1 at most."""
    return pairwise(total * index // num for index in range(num + 1))


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port for the workers, without listening on it, and yield its number.

    Raises:
        ConfigInvalid: another server listens there, or the address is not of this machine.
    """
    with ExitStack() as held:
        try:
            number = _reserve(host, port, held)
        except OSError as error:
            raise ConfigInvalid(
                f"cannot listen on {host}:{port}: {error.strerror}; change --host or --port"
            ) from error
        yield number


def _reserve(host: str, port: int, held: ExitStack) -> int:
    """Bind every address of the host, as gRPC does, and return the port."""
    missing: OSError | None = None
    num_bound = 0
    for family, _, _, _, address in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM
    ):
        at = (address[0], port, *address[2:])
        try:
            # A server that shares its port as well would let the workers in: only a bind that
            # shares nothing notices it.
            with _bound(family, at, shared=False):
                pass
            kept = held.enter_context(_bound(family, at, shared=True))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            missing = error  # such as IPv6 of "localhost" where there is none
        else:
            num_bound += 1
            port = kept.getsockname()[1]
    if not num_bound and missing is not None:
        raise missing
    return port


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    result = socket.socket(family)
    try:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        result.bind(address)
    except OSError:
        result.close()
        raise
    return result
