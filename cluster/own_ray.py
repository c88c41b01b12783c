"""The Ray that this process has started: whether it is there, and where its logs lie."""

import select
import socket
import sys
import threading
import time
from typing import Any

from cluster.reach import find_head, parse_address

# Whether this process itself is stopping its Ray, or has.
left = threading.Event()


class StoreWatch:
    """Hears of it at once when the object store of one's own Ray ends by another's hand.

    Whatever asks for an object then is ended by Ray itself, with exit code 1, within 100 ms.
    """

    def __init__(self) -> None:
        self._store: socket.socket | None = None

    def ends_within(self, seconds: float) -> bool:
        """Wait for the store's end, at most so long; True once it has ended.

        False where there is no Ray of one's own, and while this process itself stops it.
        """
        if self._store is None and not self._connect():
            time.sleep(seconds)
            return False
        if self._store is not None:
            said, _, _ = select.select([self._store], [], [], seconds)
            if not said:
                return False
        if left.is_set():
            time.sleep(seconds)
            return False
        return True

    def _connect(self) -> bool:
        """Whether there is a store to watch, or was one that answers no more."""
        node = _own_node()
        if node is None:
            return False
        store = socket.socket(socket.AF_UNIX)
        try:
            store.connect(node.plasma_store_socket_name)
        except OSError:
            store.close()
        else:
            self._store = store
        return True


def own_ray_is_gone() -> bool:
    """Whether the head of the Ray that this process has started does not answer any more.

    One that was told to end stays for long as a process, but listens no more. While Ray is being
    stopped it may seem gone for a moment.
    """
    node = _own_node()
    place = None if node is None else parse_address(node.gcs_address)
    return place is not None and find_head(*place) is not None


def own_ray_logs() -> str | None:
    """Where the Ray that this process has started keeps its logs; None on one that it joined."""
    node = _own_node()
    return None if node is None else str(node.get_logs_dir_path())


def _own_node() -> Any:
    # It may be being imported just now, by another thread.
    worker = sys.modules.get("ray._private.worker")
    node = getattr(worker, "_global_node", None)
    return node if node is not None and node.all_processes else None
