"""A studies folder in an object store, and the copy of it on this machine that is worked in.

Everybody works with files: those of a studies folder in an object store lie in a folder of this
machine's cache, which a file marks. What others need is sent once it is written, what others may
have written is brought before it is read, and the store is right where the two differ. The record
and the lock are in a database.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analysis.results import PLAN_FILE
from study.database import RECORD_ID
from study.names import StudyName, StudyNameError
from study.object_store import SCHEME, ObjectStore, StoreError, digest

# In a studies folder: that it is the copy of one in an object store, and of which.
MARK_FILE = ".object-store"
_STUDENT_FILE = "student.pt"
# Of a study's folder, what its driver does not sweep: what trials left is removed one by one, and
# exports are put there by whoever asked for them, also from elsewhere while it runs.
_NOT_SWEPT = ("checkpoints", "exports")
# Of a study's folder, what is brought of it: its plan, all but what trials left, or students too.
Part = Literal["plan", "files", "students"]


@dataclass(frozen=True)
class Mirror:
    """A studies folder in an object store.

    Attributes:
        url: ``s3://bucket/prefix``.
    """

    url: str

    @property
    def store(self) -> ObjectStore:
        """The objects."""
        return ObjectStore(self.url)

    @property
    def folder(self) -> Path:
        """Where this machine works, made if need be."""
        found = cache_folder(self.url)
        if not (found / MARK_FILE).is_file():
            found.mkdir(parents=True, exist_ok=True, mode=0o700)
            (found / MARK_FILE).write_text(self.url)
        return found

    def key(self, path: Path) -> str:
        """Return the key of a file below the folder."""
        return path.absolute().relative_to(self.folder).as_posix()

    def send(self, path: Path) -> None:
        """Put a file into the store.

        Raises:
            StoreError: if the store does not take it.
        """
        self.store.put(self.key(path), path)

    def send_ahead(self, path: Path, text: str) -> None:
        """Put into the store what is then to be written to a path.

        For a file that others on this machine bring, who would have it be as the store has it.

        Raises:
            StoreError: if the store does not take it.
        """
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            self.store.put(self.key(path), Path(file.name))

    def bring(self, path: Path) -> bool:
        """Have a file be as it is in the store: the same, or not there; returns whether it is.

        Raises:
            StoreError: if the store does not answer.
        """
        known = path.exists()
        there = self.store.get(self.key(path), path)
        if known and not there:  # else another process has just made it
            path.unlink(missing_ok=True)
        return there

    def bring_all(self, folder: Path, wanted: Callable[[str], bool] = lambda key: True) -> None:
        """Bring every file below a folder whose key is wanted.

        Raises:
            StoreError: if the store does not answer.
        """
        for key in filter(wanted, self.store.digests(f"{self.key(folder)}/")):
            self.bring(self.folder / key)

    def send_all(self, folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> None:
        """Send every wanted file below a folder that the store lacks or has otherwise.

        Raises:
            StoreError: if the store does not take one.
        """
        there = self.store.digests(f"{self.key(folder)}/")
        for path in filter(wanted, _files(folder)):
            if there.get(self.key(path)) != digest(path):
                self.send(path)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects of the store.

        Raises:
            StoreError: if the store does not answer.
        """
        self.store.remove(keys)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def cache_folder(url: str) -> Path:
    """Return where this machine keeps its copy of a studies folder; makes nothing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    readable = re.sub(r"[^\w.-]+", "-", url.removeprefix(SCHEME))
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return base.absolute() / "distillation-study" / f"{readable}-{mark}"


def mirror_of(studies: Path) -> Mirror | None:
    """Return what a studies folder is the copy of; None of an ordinary folder.

    A copy that was carried elsewhere by hand is an ordinary folder.
    """
    try:
        url = (studies / MARK_FILE).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Mirror(url) if cache_folder(url) == studies.absolute() else None


def shown(studies: Path) -> str:
    """Return a studies folder as its user names it."""
    mirror = mirror_of(studies)
    return str(studies) if mirror is None else mirror.url


def open_studies(text: str, *, write: bool = False) -> Path:
    """Return the folder in which the studies of ``--studies`` lie on this machine.

    A bucket is tried first.

    Args:
        text: What was given: a folder, or ``s3://bucket/prefix``.
        write: Whether studies are to be written.

    Raises:
        StoreError: if it is a URL of something else, or the bucket cannot be used.
    """
    if not is_url(text):
        return Path(text)
    mirror = Mirror(_store(text).url)
    mirror.store.check(write=write)
    return mirror.folder


def is_url(text: str) -> bool:
    """Whether ``--studies`` names no folder."""
    return "://" in text or re.match(r"[a-z][a-z0-9+]+:/", text) is not None


def _store(text: str) -> ObjectStore:
    if not text.startswith(SCHEME):
        raise StoreError(
            f"--studies {text} is neither a folder nor in an object store that is known; name a "
            "folder that all nodes share, or s3://BUCKET/PREFIX"
        )
    return ObjectStore.at(text)


def check_shared(text: str, storage: str | None) -> None:
    """Refuse studies in an object store whose record every machine could not reach; asks nobody.

    Args:
        text: What was given as ``--studies``.
        storage: The URL of the record's database, if there is one.

    Raises:
        StoreError: with the mend.
    """
    if not is_url(text):
        return
    url = _store(text).url
    if storage is None or not storage.startswith("postgresql"):
        raise StoreError(
            f"--studies {url}: nothing can be appended to in an object store, and a file of this "
            "machine is none for others; keep the record in PostgreSQL with --storage "
            "postgresql+psycopg://user@host/name"
        )


def bring_study(studies: Path, name: str, part: Part) -> None:
    """Bring what others may have written of a study; of an ordinary folder there is nothing to do.

    A copy of a study that was deleted elsewhere, or that another took the name of, is removed. The
    copy that a driver of this machine is at work on is newer than the store and stays as it is, but
    for its plan, which is sent before it is written.

    Raises:
        StoreError: if the store does not answer.
        study.record.RecordError: if more than the plan is asked for, and it cannot be told whether
            there is such a driver: the plan is damaged, or the database does not answer.
    """
    from study.lock import is_driven_beside

    mirror = mirror_of(studies)
    if mirror is None:
        return
    folder = mirror.folder / name
    plan = folder / PLAN_FILE
    before = _record_id(plan)
    if not mirror.bring(plan):
        if before is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return
    if before is not None and before != _record_id(plan):
        shutil.rmtree(folder, ignore_errors=True)
        mirror.bring(plan)
    if part == "plan" or is_driven_beside(folder):
        return
    trials = f"{name}/checkpoints/"

    def wanted(key: str) -> bool:
        student = part == "students" and key.endswith(f"/{_STUDENT_FILE}")
        return student or not key.startswith(trials)

    mirror.bring_all(folder, wanted)


def _record_id(plan: Path) -> str | None:
    """The mark of the study that a plan is of; empty if it tells none, None without a plan."""
    try:
        return str(json.loads(plan.read_text())[RECORD_ID])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""


def bring_plans(studies: Path) -> None:
    """Bring the plan of every study, and forget those that are gone.

    Raises:
        StoreError: if the store does not answer.
    """
    mirror = mirror_of(studies)
    if mirror is None:
        return
    here = [plan.parent.name for plan in studies.glob(f"*/{PLAN_FILE}")]
    for name in sorted({*here, *mirror.store.folders()}):
        try:
            StudyName(name)
        except StudyNameError:  # teachers, or not of this program
            continue
        bring_study(studies, name, "plan")


def withdraw_plan(folder: Path) -> None:
    """Take the plan of a study back that does not come to be, also from an object store.

    Raises:
        StoreError: if the store does not answer.
    """
    mirror, plan = mirror_of(folder.parent), folder / PLAN_FILE
    if mirror is not None:
        mirror.remove([mirror.key(plan)])
    plan.unlink(missing_ok=True)


def send_log(folder: Path) -> None:
    """Send what libraries printed, which is kept last; of an ordinary folder nothing.

    Raises:
        StoreError: if the store does not take it.
    """
    mirror, logs = mirror_of(folder.parent), folder / "logs"
    if mirror is not None and (folder / PLAN_FILE).is_file() and logs.is_dir():
        mirror.store.check()
        mirror.send_all(logs)


def send_study(folder: Path, *parts: str, sweep: bool = False) -> None:
    """Send a study's plan, report, pictures, models and logs; of an ordinary folder nothing.

    Args:
        folder: The study's folder.
        parts: Names of folders in it that alone are sent; none for all that lasts.
        sweep: Remove from the store what is not here any more, but for students and exports. To be
            asked with the study's lock, by one who has brought all of it.

    Raises:
        StoreError: if the store does not take it.
    """
    mirror = mirror_of(folder.parent)
    if mirror is None or not (folder / PLAN_FILE).is_file():
        return
    mirror.store.check()
    trials = folder / "checkpoints"

    def lasting(path: Path) -> bool:
        passing = path.name.startswith(".") or (path.parent == folder and path.suffix != ".json")
        asked = not parts or path.relative_to(folder).parts[0] in parts
        return asked and not passing and not path.is_relative_to(trials)

    mirror.send_all(folder, lasting)
    if sweep:
        stays = tuple(f"{folder.name}/{part}/" for part in _NOT_SWEPT)
        gone = [
            key
            for key in mirror.store.digests(f"{folder.name}/")
            if not key.startswith(stays) and not (mirror.folder / key).exists()
        ]
        mirror.remove(gone)
