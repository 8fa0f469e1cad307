"""A free port for the rendezvous of a test's ranks."""

from __future__ import annotations

import random
import socket

OUTGOING = 32_768  # where systems begin to number outgoing connections, which would take a port away


def free_port() -> int:
    """A free port below the range of outgoing connections."""
    draw = random.SystemRandom()  # another process that runs tests draws others
    while True:
        port = draw.randrange(10_000, OUTGOING)
        with socket.socket() as held:
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
