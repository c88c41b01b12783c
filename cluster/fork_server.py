"""Forks the workers of a Ray of one's own: loads modules first, then does nothing else.

    python fork_server.py SOCKET WORKER_SCRIPT MODULE…

SOCKET is the number of the inherited file on which they ask. Ends when its standard input is
closed, as it is when the driver that started it is gone.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def _serve(heard: int, modules: Sequence[str]) -> dict[str, Any] | None:
    """Load, then fork a worker for whoever asks; returns in each of them with what was asked.

    In the server itself None, once the driver is gone.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # how a worker ended is Ray's to know
    with socket.socket(fileno=heard) as listener, selectors.DefaultSelector() as selector:
        for name in modules:
            with contextlib.suppress(ImportError):  # to be raised where it is needed
                importlib.import_module(name)
        gc.collect()
        gc.freeze()  # a collection would write to all that is shared
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError, ValueError):
                _, streams, _, _ = socket.recv_fds(connection, 1, 3)
                with connection.makefile("rb") as file:
                    asked: dict[str, Any] = json.load(file)
                worker = os.fork() == 0
                if worker:
                    for place, stream in enumerate(streams):
                        os.dup2(stream, place)
                else:
                    connection.sendall(b".")
                for stream in streams:
                    os.close(stream)
                if worker:
                    return asked
    return None


def _become(asked: Mapping[str, Any], script: str) -> None:
    """Run Ray's worker script as a process of its own would."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgrp()  # of which Ray ends all, with what a trial may have started
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    sys.argv = [script, *asked["argv"]]
    sys.path[0] = str(Path(script).parent)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # others have the same state
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    # Modules come from where this one lies, as the driver's do.
    sys.path[0] = str(Path(__file__).parents[1])
    request = _serve(int(sys.argv[1]), sys.argv[3:])
    if request is not None:
        _become(request, sys.argv[2])
