"""Which processes of this machine listen at a target. Knows nothing of what they serve."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import psutil

from loadtest.telemetry.processes import name_of

_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:")
_UNIX_SCHEMES = ("unix:///", "unix://", "unix:")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_ANY = {"0.0.0.0", "::"}  # noqa: S104  (compared with, not bound)
# What stands before a server that is somewhere else: its CPU says nothing about the server's.
_FORWARDERS = ("docker-proxy", "rootlessport", "kubectl", "socat", "ssh", "slirp4netns", "pasta")


@dataclass(frozen=True)
class Address:
    """Where a target is: a path, or a port with the addresses of its host."""

    path: str = ""
    port: int = 0
    hosts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Listeners:
    """Who listens there; `reason` says why nobody can be looked at."""

    processes: tuple[psutil.Process, ...] = ()
    reason: str = ""


def address(target: str) -> Address | None:
    """Return where on this machine a gRPC target is, None where it is on another one."""
    for scheme in _UNIX_SCHEMES:
        if target.startswith(scheme):
            rest = target.removeprefix(scheme)
            return Address(path=f"/{rest}" if scheme == "unix:///" else rest)
    for scheme in _SCHEMES:
        target = target.removeprefix(scheme)
    host, _, port = target.rpartition(":")
    if not port.isdecimal():
        return None
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, OverflowError, UnicodeError):
        return None
    hosts = frozenset(str(sockaddr[0]) for *_, sockaddr in found)
    if hosts & _ANY:
        # Clients that name the wildcard reach the loopback interface.
        hosts |= _LOOPBACK
    return Address(port=int(port), hosts=hosts) if any(map(_is_own, hosts)) else None


def listeners(where: Address) -> Listeners:
    """Return the processes that listen there, those that others of them started left out."""
    try:
        pids = _at_path(where.path) if where.path else _at_port(where)
    except psutil.AccessDenied:
        return Listeners(reason="this system shows its sockets only to an administrator")
    if not pids:
        return Listeners(reason="no process of this machine listens there")
    if None in pids:
        return Listeners(reason="what listens there belongs to another user or container")
    found = {pid: process for pid in pids if pid and (process := _process(pid))}
    for process in found.values():
        name = name_of(process)
        if name.startswith(_FORWARDERS):
            return Listeners(reason=f"{name} (pid {process.pid}) listens there, a forwarder")
    heads = [one for one in found.values() if not _ancestors(one) & found.keys()]
    return Listeners(tuple(sorted(heads, key=lambda process: process.pid)))


def listens(process: psutil.Process, where: Address) -> bool:
    """It holds a listening socket there, be it one that it shares."""
    kind = "unix" if where.path else "tcp"
    try:
        connections = process.net_connections(kind)
    except psutil.Error:
        return False
    if where.path:
        return any(_path(one.laddr) == where.path for one in connections)
    return any(_end(one)[1] == where.port for one in connections)


def _at_port(where: Address) -> set[int | None]:
    """Return the listening pids; the exact address goes before one that takes any, as it does."""
    exact, wildcard = set(), set()
    for one in psutil.net_connections("tcp"):
        host, port = _end(one)
        if port != where.port:
            continue
        if host in where.hosts:
            exact.add(one.pid)
        elif host in _ANY:
            wildcard.add(one.pid)
    return exact or wildcard


def _at_path(path: str) -> set[int | None]:
    # Accepted connections carry the path too; the listener's own process holds both.
    found = {one.pid for one in psutil.net_connections("unix") if _path(one.laddr) == path}
    return found - {None} or found


def _end(connection: Any) -> tuple[str, int]:  # noqa: ANN401  (psutil has two types for it)
    """Return host and port that a connection listens at, nothing if it does not listen."""
    if connection.status != psutil.CONN_LISTEN or not connection.laddr:
        return "", 0
    return connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port


def _path(local: Any) -> str:  # noqa: ANN401  (typed as for the internet; a path for unix)
    return local if isinstance(local, str) else ""


def _is_own(host: str) -> bool:
    """It is an address of this machine."""
    if ip_address(host).is_loopback:
        return True
    interfaces = psutil.net_if_addrs().values()
    return any(one.address.partition("%")[0] == host for many in interfaces for one in many)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.Error:
        return set()
