"""One driver a study: a lock file that names its holder, taken over when that one is gone."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

LOCK_FILE = "lock"


class LockedError(RuntimeError):
    """The study has a live driver; the message says who."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. ``process_started`` tells a process from a later one of the same pid."""

    host: str
    pid: int
    process_started: float

    @classmethod
    def me(cls) -> "Holder":
        """Return this process."""
        process = psutil.Process()
        return cls(socket.gethostname(), process.pid, round(process.create_time(), 2))

    def is_gone(self) -> bool:
        """Whether the holder has certainly ended; a process of another host never is."""
        if self.host != socket.gethostname():
            return False
        try:
            started = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        # The boot time that create_time is reckoned from moves with the clock, by seconds.
        return bool(abs(started - self.process_started) > 60)


class StudyLock:
    """The lock of one study's folder, a context manager.

    Raises:
        LockedError: on entering, if a live driver holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self.taken_over: Holder | None = None

    def __enter__(self) -> "StudyLock":
        """Take the lock, or take it over from a process that is gone."""
        while True:
            try:
                self._create()
                return self
            except FileExistsError:
                holder = read_holder(self._path.parent)
            if holder is not None and not holder.is_gone():
                raise _locked(holder, self._path.parent)
            self.taken_over = holder
            self._path.unlink(missing_ok=True)

    def _create(self) -> None:
        # Linked into place whole, so that nobody ever reads half a lock.
        mine = self._path.with_name(f"{LOCK_FILE}.{os.getpid()}.tmp")
        mine.write_text(json.dumps(asdict(Holder.me())))
        try:
            os.link(mine, self._path)
        finally:
            mine.unlink()

    def __exit__(self, *exc: object) -> None:
        """Give the lock back."""
        if read_holder(self._path.parent) == Holder.me():
            self._path.unlink(missing_ok=True)


def read_holder(folder: Path) -> Holder | None:
    """Return who holds the lock of a study's folder; None if nobody does or it is unreadable."""
    try:
        return Holder(**json.loads((folder / LOCK_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def check_free(folder: Path) -> None:
    """Refuse a study that has a live driver, without taking its lock.

    Raises:
        LockedError: naming the driver.
    """
    holder = read_holder(folder)
    if holder is not None and not holder.is_gone():
        raise _locked(holder, folder)


def _locked(holder: Holder, folder: Path) -> LockedError:
    return LockedError(
        f"study {folder.name} is driven by process {holder.pid} on {holder.host}; wait for it, or "
        f"stop it there (if that machine is gone, delete {folder / LOCK_FILE})"
    )


def is_live(folder: Path) -> bool:
    """Whether a driver is at work on the study in ``folder``."""
    holder = read_holder(folder)
    return holder is not None and not holder.is_gone()
