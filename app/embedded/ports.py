"""TCP ports on loopback: whether a port is free, and who listens on it."""

from __future__ import annotations

import errno
import random
import socket

import psutil

from headrace.errors import StartError

LOOPBACK = "127.0.0.1"
# Below the ephemeral ports, which outgoing connections use.
QUIET_PORTS = range(20_000, 32_000)


def is_free(port: int, *, setting: str = "EMBEDDED_KAFKA_PORT") -> bool:
    """Whether a server could listen on the port now. Raises StartError, naming `setting`, if the system forbids it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise StartError(f"port {port} on {LOOPBACK}: {error.strerror}; set {setting} to another port") from error
    return True


def free_port(*, but: int) -> int:
    """A port other than `but` on which a server could listen now."""
    candidates = random.sample(QUIET_PORTS, len(QUIET_PORTS))
    return next(port for port in candidates if port != but and is_free(port))


def listener(port: int) -> str:
    """The program that listens on the port, as "name (pid 1)", or "another program" if that is not visible."""
    try:
        for connection in psutil.net_connections("tcp"):
            here = connection.laddr and connection.laddr.port == port
            if here and connection.pid and connection.status == psutil.CONN_LISTEN:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # processes of other users are hidden; the message is only less exact
    return "another program"
