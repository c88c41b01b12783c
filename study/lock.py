"""One driver a study: a lock file that names its holder, taken over when that one is gone.

The holder beats: it counts up a number in the lock file every few seconds. A holder on this machine
is known to be gone when its process is; one elsewhere (another host, another container) when it has
not beaten for a while. No clock of the day is read, so setting one changes nothing.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from study.commands import command
from study.mirror import mirror_of
from study.record import RecordError

LOCK_FILE = "lock"
BEAT_SECONDS = 5.0
# A holder that cannot be seen, and does not beat this long, is taken to be gone.
PATIENCE_SECONDS = 30.0


class LockedError(RuntimeError):
    """The study has a live driver; the message says who."""


class LockReadError(RecordError, OSError):
    """A lock is there, or may be, and cannot be read; the message says which and why."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    One whose words mean nothing here, as those of another version of this package may, has no name:
    its host is empty, and all that it wrote is its system. So nobody sees whether it lives, and
    with each of its beats it is another.

    Attributes:
        host: Its machine's name.
        pid: Its process.
        system: Boot of the machine and process namespace: where the pid means something.
        started: Start of the process in clock ticks since boot; tells it from a later one of the
            same pid, however the clock of the day is set.
        since: When it took the lock, ISO 8601 in UTC, for people.
        beat: Counted up while it lives.
    """

    host: str
    pid: int
    system: str
    started: float
    since: str
    beat: int = 0

    @classmethod
    def me(cls) -> "Holder":
        """Return this process."""
        pid = os.getpid()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid, _system(), _started(pid) or 0.0, since)

    @classmethod
    def from_text(cls, text: str) -> "Holder":
        """Return who wrote a lock."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return cls("", 0, text, 0.0, "")

    def to_text(self) -> str:
        """Return what stands in its lock."""
        return json.dumps(asdict(self)) if self.host else self.system

    def is_same_process(self, other: "Holder") -> bool:
        """Whether both are one process, whatever it beat."""
        mine = (self.host, self.pid, self.system, self.started)
        return mine == (other.host, other.pid, other.system, other.started)

    def is_visible(self) -> bool:
        """Whether this process can tell if the holder lives: it runs, or ran, on this system."""
        return self.host == socket.gethostname() and self.system == _system()

    def is_gone(self) -> bool:
        """Whether the holder has certainly ended; one that cannot be seen never has."""
        return self.is_visible() and _started(self.pid) != self.started

    def __str__(self) -> str:
        """Name it for a message."""
        if not self.host:
            return "a driver whose lock is damaged, or of another version of this package"
        return f"process {self.pid} on {self.host}, since {self.since}"


def _system() -> str:
    """The boot and the namespace that pids of this process belong to."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return str(psutil.boot_time())


def _started(pid: int) -> float | None:
    """When a process started, on a clock that nobody sets; None if there is none.

    A zombie has ended: only its parent has not looked yet.
    """
    try:
        # The name, in parentheses, may hold anything; the fields after it are numbers.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            return float(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None
    except OSError:  # it ended while it was read
        return None
    return None if fields[0] in "ZX" else float(fields[19])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others who find the same holder gone from removing the lock that one of them took."""
    handle = os.open(folder, os.O_RDONLY)  # a lock on the folder leaves no file behind
    try:
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class StudyLock:
    """The lock of one study's folder, a context manager; :func:`study_lock` makes it.

    Args:
        folder: The study's folder.
        on_wait: Told whose sign of life is waited for, when that takes a while.

    Raises:
        LockedError: on entering, if a live driver holds it.
        LockReadError: likewise, if it cannot be told whether one does.
    """

    def __init__(self, folder: Path, on_wait: Callable[[Holder], None] | None = None) -> None:
        self._path = folder / LOCK_FILE
        self._on_wait = on_wait
        self._me = Holder.me()
        self.taken_over: Holder | None = None

    def __enter__(self) -> "StudyLock":
        """Take the lock, or take it over from a process that is gone."""
        while True:
            holder = self._read()
            if holder is not None and not self._has_ended(holder):
                current = self._read()
                if current is None:  # given back while it was waited for
                    continue
                raise _locked(current, self._path.parent)
            if self._take(holder):
                self.taken_over = holder
                return self

    def _read(self) -> Holder | None:
        return _holder_in_file(self._path.parent)

    def _take(self, gone: Holder | None) -> bool:
        """Take the lock unless another driver was quicker; ``gone`` held it last."""
        with _alone(self._path.parent):
            if self._read() not in (None, gone):
                return False
            self._path.unlink(missing_ok=True)
            for leftover in self._path.parent.glob(f"{LOCK_FILE}.*.tmp"):
                leftover.unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                self._create()
                return True
        return False

    def _has_ended(self, holder: Holder) -> bool:
        if holder.is_visible():
            return holder.is_gone()
        if self._on_wait is not None:
            self._on_wait(holder)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(min(1.0, PATIENCE_SECONDS))
            if self._read() != holder:
                return False
        return True

    def _create(self) -> None:
        # Linked into place whole, so that nobody ever reads half a lock.
        mine = self._write()
        try:
            os.link(mine, self._path)
        finally:
            mine.unlink()

    def _write(self) -> Path:
        mine = self._path.with_name(f"{LOCK_FILE}.{os.getpid()}.tmp")
        mine.write_text(self._me.to_text())
        return mine

    def is_mine(self) -> bool:
        """Whether the lock is still held by this process.

        Raises:
            OSError: if that cannot be told now.
        """
        holder = self._read()
        return holder is not None and holder.is_same_process(self._me)

    def beat(self) -> None:
        """Show that the holder lives.

        Raises:
            OSError: if the disk is full or gone.
        """
        self._me = replace(self._me, beat=self._me.beat + 1)
        mine = self._write()
        try:
            mine.replace(self._path)
        except OSError:
            mine.unlink(missing_ok=True)
            raise

    def __exit__(self, *exc: object) -> None:
        """Give the lock back; where that cannot be done, this process is gone all the same."""
        with contextlib.suppress(OSError):
            if self.is_mine():
                self._path.unlink(missing_ok=True)


def study_lock(
    folder: Path, on_wait: Callable[[Holder], None] | None = None, storage: str | None = None
) -> StudyLock:
    """Return the lock of a study: a file in its folder, or, of one in an object store, a row.

    Args:
        folder: The study's folder.
        on_wait: As of :class:`StudyLock`.
        storage: URL of the database of its record, where no plan tells it yet.

    Raises:
        RecordError: if the plan is damaged.
    """
    from study.driver_row import DriverRow, SharedLock, row_of

    row = row_of(folder)
    if row is None and storage is not None and mirror_of(folder.parent) is not None:
        row = DriverRow(storage, folder.name)
    return StudyLock(folder, on_wait) if row is None else SharedLock(folder, row, on_wait)


def read_holder(folder: Path) -> Holder | None:
    """Return who holds the lock of a study's folder; None if nobody does.

    Raises:
        RecordError: if it cannot be read, or is in a database that does not answer.
    """
    if mirror_of(folder.parent) is None:
        return _holder_in_file(folder)
    from study.driver_row import row_of

    row = row_of(folder)
    return None if row is None else row.holder()


def beaten_ago(folder: Path) -> float | None:
    """Return how long ago (s) a holder last beat, by the clock of whoever keeps its lock.

    None if it has been given back. Good enough to be shown; it decides nothing.

    Raises:
        RecordError: if the lock is in a database that does not answer.
    """
    if mirror_of(folder.parent) is not None:
        from study.driver_row import row_of

        row = row_of(folder)
        return None if row is None else row.beaten_ago()
    try:
        return time.time() - (folder / LOCK_FILE).stat().st_mtime
    except FileNotFoundError:
        return None


def _holder_in_file(folder: Path) -> Holder | None:
    path = folder / LOCK_FILE
    try:
        return Holder.from_text(path.read_text(errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # No holder is what a lock may be taken over from; this one may be alive.
        raise LockReadError(
            f"the lock of study {folder.name} cannot be read ({path}: {error.strerror or error}), "
            "so a driver may be at work on it; look at that file, then try again"
        ) from error


def check_free(folder: Path) -> None:
    """Refuse a study whose driver is seen to live, at once and without taking its lock.

    Raises:
        LockedError: naming the driver.
        RecordError: if it cannot be told whether there is one.
    """
    holder = read_holder(folder)
    if holder is not None and holder.is_visible() and not holder.is_gone():
        raise _locked(holder, folder)


def _locked(holder: Holder, folder: Path) -> LockedError:
    return LockedError(
        f"study {folder.name} is driven by {holder}; wait for it, or stop it with "
        f"`{command('stop', folder)}`"
    )


def is_live(folder: Path) -> bool:
    """Whether a driver is at work on the study in ``folder``, as far as can be told from here."""
    holder = read_holder(folder)
    return holder is not None and not holder.is_gone()


def is_driven_beside(folder: Path) -> bool:
    """Whether another process of this system is seen to drive the study in ``folder``.

    Raises:
        RecordError: if that cannot be told.
    """
    holder = read_holder(folder)
    if holder is None or not holder.is_visible() or holder.is_gone():
        return False
    return not holder.is_same_process(Holder.me())
