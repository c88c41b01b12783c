"""Workers of a Ray of one's own, forked from one process that has loaded torch.

A worker that loads torch, torchvision and Ray Tune itself takes about six seconds of a processor
for it, and half a gigabyte for itself. One that is forked from a process which has loaded them, and
has done nothing else, is there at once, and shares with it what neither writes to.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.ahead import replaced
from cluster.forked_worker import SCRIPT, SERVER

_HERE = Path(__file__).parent
_LONGEST_FOLDER = 107 - len("/study-workers-12345678/socket")
_WAITING = 512  # workers that may ask at one time


class ForkServer:
    """The process, seen from the driver: it begins to load at once, and ends with the driver.

    Args:
        modules: What to load; one that cannot be is left to whoever needs it.
        env: Variables in force before anything is loaded, which the workers inherit.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it.

        Raises:
            OSError: There is no place for its socket.
        """
        self._folder = tempfile.mkdtemp(prefix="study-workers-", dir=_folder_of_sockets())
        address, script = str(Path(self._folder) / "socket"), _worker_script()
        self.env = {**env, SERVER: address, SCRIPT: script}
        with socket.socket(socket.AF_UNIX) as listener:
            # Here, so that whoever asks before the server runs waits for it.
            try:
                listener.bind(address)
            except OSError:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
            listener.listen(_WAITING)
            heard = listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, str(_HERE / "fork_server.py"), str(heard), script, *modules],
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[heard],
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """Of the server."""
        return self._process.pid

    def close(self) -> None:
        """End it; the workers are Ray's."""
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


def _folder_of_sockets() -> str:
    """Where a file's path is no longer than a socket's may be: 107 bytes."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) < _LONGEST_FOLDER else "/tmp"


def can_fork() -> bool:
    """Whether a process that has loaded such libraries may go on after a fork."""
    return sys.platform == "linux"


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Have the Ray that is started meanwhile ask a fork server, named in its environment."""
    import ray

    parameter: Any = ray._private.parameter
    script = str(_HERE / "forked_worker.py")
    forked = functools.partial(parameter.RayParams, worker_path=script)
    with replaced(parameter, "RayParams", forked):
        yield


def _worker_script() -> str:
    """Return the path of what Ray runs as a worker, without importing Ray."""
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "_private" / "workers" / "default_worker.py")
