"""Locust's own page while a run goes on, on loopback."""

import socket
import sys
from contextlib import closing
from typing import Final

import gevent
from locust.env import Environment
from locust.stats import stats_history

from loadtest.errors import RunFailed

HOST: Final = "127.0.0.1"


def open_page(environment: Environment, port: int) -> None:
    """Serve the page until `environment.web_ui.stop()`.

    Raises:
        RunFailed: the port is taken.
    """
    check_port(HOST, port, "--web")
    # Locust's page reads the process's arguments again, as if they were its own.
    del sys.argv[1:]
    environment.create_web_ui(HOST, port)
    assert environment.runner is not None
    gevent.spawn(stats_history, environment.runner)


def check_port(host: str, port: int, option: str) -> None:
    """Try to listen, because Locust would only log that it cannot.

    Raises:
        RunFailed: the port is taken, or the address is none of this machine's.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, OverflowError) as error:
        raise RunFailed(
            f"cannot listen at {host}:{port} ({error}); pass another one to {option}"
        ) from error
