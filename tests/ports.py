"""Ports for servers that are started some time after their port was chosen."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(20_000, 32_000)  # what the system gives to others in the meantime lies above


def free_port() -> int:
    for port in random.Random().sample(_BELOW_EPHEMERAL, 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError("no free port found")
