"""What a Ray of one's own runs in place of its worker script: asks the fork server for the worker.

Run by its path, so it needs the standard library alone. The worker has this process's arguments,
environment, working directory and output. Where the server is gone, this process becomes the
worker itself, and loads what it needs.
"""

import json
import os
import socket
import sys
from collections.abc import Sequence

SERVER, SCRIPT = "STUDY_FORK_SERVER", "STUDY_FORK_SCRIPT"


def main(arguments: Sequence[str]) -> None:
    """Return once there is a worker, or become it."""
    asked = {"argv": list(arguments), "environ": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109  (pathlib is not loaded yet)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(os.environ[SERVER])
            socket.send_fds(server, [b"."], [0, 1, 2])
            server.sendall(json.dumps(asked).encode())
            server.shutdown(socket.SHUT_WR)
            forked = bool(server.recv(1))
    except OSError:
        forked = False
    if not forked:
        os.execv(sys.executable, [sys.executable, os.environ[SCRIPT], *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
