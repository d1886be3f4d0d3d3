"""Print the port given if nobody listens on it, else one that is free: free_port.py 27017"""

from __future__ import annotations

import socket
import sys


def free(port: int) -> int:
    """Return `port`, or one the system chooses where `port` is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free(0)
        return int(probe.getsockname()[1])


print(free(int(sys.argv[1])))
