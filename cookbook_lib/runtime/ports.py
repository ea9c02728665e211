"""A kernel's ports, held until it listens.

Jupyter chooses free ports, lets them go again and writes them into the connection file; rank 0 binds them seconds later,
when torch is imported. In between, any socket of the machine may be given one of them: Jupyter's own too, which knocks
on a port that nobody listens to, from a random one. So a socket is bound to each that never listens. With SO_REUSEADDR
on both, the kernel's may bind beside it, and the system gives the port to nobody who asks for any.

On Linux alone; BSD and macOS would refuse the kernel as well.
"""

import json
import socket
import sys
from pathlib import Path

PORT_NAMES = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")  # of a connection file
CAN_HOLD = sys.platform == "linux"


def hold(address: str, port: int = 0) -> socket.socket:
    """Keep this TCP port, or with 0 any free one, as long as the socket lives. Raises OSError where it is taken."""
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, port))
    except OSError:
        holder.close()
        raise
    return holder


def hold_ports_of(connection_file: str) -> list[socket.socket]:
    """Keep the ports of a connection file. One that is taken is left out: after a restart the last kernel may still leave it."""
    connection = json.loads(Path(connection_file).read_text())
    if not CAN_HOLD or connection["transport"] != "tcp":
        return []
    held = []
    for name in PORT_NAMES:
        try:
            held.append(hold(connection["ip"], connection[name]))
        except OSError:  # rank 0 says so, should it find it taken as well
            continue
    return held
