"""What a driver does beside its work: it shows that it lives, and hears requests to stop."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.lock import BEAT_SECONDS, Holder, StudyLock, read_holder

STOP_FILE = "stop"
_LOOK_SECONDS = 0.5


def write_stop_request(folder: Path, text: str) -> None:
    """Put a request to stop where the driver looks; ``text`` names that driver.

    Raises:
        OSError: if it cannot be written.
    """
    partial = folder / f".{STOP_FILE}.{os.getpid()}.tmp"
    partial.write_text(text)
    partial.replace(folder / STOP_FILE)


def request_stop(folder: Path, holder: Holder) -> None:
    """Ask the driver of a study to stop; it need not run on this machine.

    The request names its driver, so that it never stops a later one.

    Raises:
        OSError: if it cannot be written.
    """
    from study.driver_row import row_of

    row = row_of(folder)
    if row is not None:
        row.ask_to_stop(holder)
        return
    write_stop_request(folder, holder.to_text())


def wait_for_stop(folder: Path, holder: Holder, timeout: float) -> bool:
    """Return whether a driver gave its lock back, or was seen to end, within ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):  # it is looked again
            current = read_holder(folder)
            if current is None or not current.is_same_process(holder) or current.is_gone():
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


@contextmanager
def watching(folder: Path, lock: StudyLock) -> Iterator[threading.Event]:
    """Beat, and hear requests to stop, on a thread of its own while the block runs.

    A request is handed to this process as SIGTERM, so there is one way of stopping. The same
    happens when another driver has taken the lock: the event that is yielded is then set.
    """
    lost, done, requests = threading.Event(), threading.Event(), _Requests(folder / STOP_FILE)
    requests.clear()

    def watch() -> None:
        beaten = time.monotonic()
        while not (lost.is_set() or done.wait(_LOOK_SECONDS)):
            # Whatever goes wrong in one round may not in the next: without this thread no request
            # would be heard, and another driver would take the lock of one that lives. A disk that
            # is full, a database that is gone: the study finds out by itself.
            with contextlib.suppress(Exception):
                requests.hand_on()
            if time.monotonic() - beaten < BEAT_SECONDS:
                continue
            beaten = time.monotonic()
            with contextlib.suppress(Exception):
                if lock.is_mine():
                    lock.beat()
                else:
                    lost.set()
                    os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
        requests.clear()


class _Requests:
    """Requests to this process to stop, each of which is handed on once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._me = Holder.me()
        # The file of the last one, as long as it cannot be removed: it is no further request.
        self._heard: tuple[int, int] | None = None

    def hand_on(self) -> None:
        """Send this process the signal that a request asks for, if there is one.

        Raises:
            OSError: if it cannot be read, or not be removed once it is handed on.
        """
        try:
            with self._path.open(errors="replace") as file:
                asked, state = Holder.from_text(file.read()), os.fstat(file.fileno())
        except FileNotFoundError:
            return
        written = (state.st_ino, state.st_mtime_ns)
        if written == self._heard or not asked.is_same_process(self._me):
            return
        self._heard = written
        os.kill(os.getpid(), signal.SIGTERM)
        self._path.unlink(missing_ok=True)
        self._heard = None

    def clear(self) -> None:
        """Remove what nobody hears any more; one that stays names a driver that has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
