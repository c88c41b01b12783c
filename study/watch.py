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
    lost, done = threading.Event(), threading.Event()
    stop_file = folder / STOP_FILE
    stop_file.unlink(missing_ok=True)

    def watch() -> None:
        beaten = time.monotonic()
        while not done.wait(_LOOK_SECONDS):
            if _is_for_me(stop_file):
                stop_file.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGTERM)
            if time.monotonic() - beaten < BEAT_SECONDS:
                continue
            beaten = time.monotonic()
            # A full disk, a database that is gone: the study finds out by itself. What cannot be
            # read now may be at the next beat.
            with contextlib.suppress(OSError):
                if not lock.is_mine():
                    lost.set()
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                lock.beat()

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
        stop_file.unlink(missing_ok=True)


def _is_for_me(stop_file: Path) -> bool:
    try:
        asked = Holder.from_text(stop_file.read_text(errors="replace"))
    except OSError:
        return False
    return asked.is_same_process(Holder.me())
