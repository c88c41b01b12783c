"""Deleting a study: its folder, and its record where that is in a database; nothing shared.

The folder first gets a hidden name, in one step, which shows that it can be removed. What lies
elsewhere goes then, the record last, for it is what cannot be had again; if it does not go, the
folder gets its name back. Only then are the folder's files removed, first its plan. So a deletion
that is killed leaves under the hidden name a study, which is found again by its plan and deleted
when that is asked for once more, or the rest of one, which goes with the next deletion.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.database import seen_from_here
from analysis.formatting import without_password
from analysis.record import RecordReadError, read_record
from analysis.results import PLAN_FILE
from study.database import RECORD_ID, of_another_folder
from study.disk import disk_use
from study.folders import is_study
from study.listing import find_study
from study.lock import Holder, LockedError, check_free, read_holder, study_lock
from study.mirror import mirror_of
from study.names import StudyName
from study.object_store import StoreError
from study.plan import check_writable
from study.record import RecordError, read_plan_file

_LEFTOVER = re.compile(r"\.(?P<name>[A-Za-z0-9_-][A-Za-z0-9._-]*)\.deleted\.\d+")


class DeleteError(RecordError):
    """A study that cannot be deleted; the message says why, and nothing of it was removed."""


class _RecordStaysError(DeleteError):
    """A record that does not go; ``told`` says why without a mend, ``mend`` how the rest goes."""

    told: str
    mend: str


class _UnreachableError(_RecordStaysError):
    """The database of a study's record is not to be had."""

    mend = "once that answers, give the same command again"

    def __init__(self, url: str, name: str, error: Exception) -> None:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        self.told = (
            f"the record of study {name} is in {without_password(url)}, which cannot be reached "
            f"({without_password(first)})"
        )
        super().__init__(
            f"{self.told}: nothing was removed; bring it up, or remove the study's folder by hand "
            "to leave the record there"
        )


class _ClaimedError(_RecordStaysError):
    """A record that another folder has claimed since it was looked at."""

    mend = "give the same command again to delete all but the record"

    def __init__(self, url: str, name: str) -> None:
        self.told = (
            f"the record of study {name} in {without_password(url)} has become another folder's"
        )
        super().__init__(f"{self.told}: nothing was removed; {self.mend}")


@dataclass(frozen=True)
class _Recorded:
    """Where a plan has its record: the database's URL, None of a journal; its name and mark there.

    The mark is None where the plan has none.
    """

    url: str | None
    name: str
    mark: str | None


class _PlanDamagedError(ValueError):
    """A plan that does not tell where the record is."""


class RemnantError(RuntimeError):
    """A study of which a part is deleted; the message says what is left, and where."""


@dataclass(frozen=True)
class Removal:
    """What goes with a study.

    Attributes:
        name: The study's name.
        folder: Its folder.
        size: Of all files in the folder, in bytes.
        trials: How many its record holds; None if that cannot be read.
        storage: URL of the database its record is deleted from; None if there is none.
        stays: Why a record in a database stays, in a clause, if one does or may.
        damage: What is wrong with the plan or the record, if anything is.
        mark: What ties the folder to its record in a database, if anything does.
    """

    name: str
    folder: Path
    size: int
    trials: int | None
    storage: str | None
    stays: str | None
    damage: str | None
    mark: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, the URL without its password."""
        return {
            "name": self.name,
            "folder": str(self.folder.absolute()),
            "bytes": self.size,
            "trials": self.trials,
            "storage": None if self.storage is None else without_password(self.storage),
            "damage": self.damage,
        }


def find_removal(studies: Path, name: str) -> Removal:
    """Return what a deletion of a study would remove, changing nothing.

    Raises:
        StudyNameError: if no study can have that name.
        LockedError: if a driver is at work on it.
        PlanError: if nothing can be removed in the studies folder.
        DeleteError: if the folder is a link, or the database of its record cannot be reached.
        RecordError: if there is no such study.
    """
    folder = find_study(studies, name)
    if folder.is_symlink():
        target = folder.resolve()
        raise DeleteError(
            f"study {name} is a link to {target}: remove the link with `rm {folder}`, or the study "
            f"with --studies {target.parent}"
        )
    check_free(folder)
    check_writable(studies)
    trials, storage, stays, damage, mark = None, None, None, None, None
    try:
        recorded = _find_recorded(folder)
        storage, mark = recorded.url, recorded.mark
        if storage is None:
            trials = len(read_record(folder).trials)
        elif recorded.name != name:  # copied by hand: the record is the other study's
            storage = None
            stays = f"it is a copy of {recorded.name}, whose record in a database stays"
        else:
            trials = _count_recorded(storage, name)
            if _is_another_s(storage, name, mark):
                shown = without_password(storage)
                stays = f"the record of {name} in {shown} is another folder's, and stays"
                trials, storage = None, None
    except _PlanDamagedError as error:
        damage = str(error)
        stays = "a record in a database, if it has one, stays: the plan cannot say where"
    except RecordReadError as error:
        damage = str(error)
    return Removal(name, folder, disk_use(folder).total, trials, storage, stays, damage, mark)


def remove(removal: Removal, on_wait: Callable[[Holder], None] | None = None) -> None:
    """Delete a study, and what killed deletions left among the studies.

    Args:
        removal: What :func:`find_removal` returned.
        on_wait: As of :class:`study.lock.StudyLock`.

    Raises:
        LockedError: if a driver has taken the study meanwhile.
        DeleteError: if it cannot be deleted; nothing was removed.
        RecordError: if its lock cannot be read; nothing was removed.
        StoreError: if its object store does not answer; nothing was removed.
        RemnantError: if a part of it is deleted, and another is still there.
    """
    folder = removal.folder
    hidden = folder.with_name(f".{removal.name}.deleted.{os.getpid()}")
    try:
        with study_lock(folder, on_wait):
            folder.rename(hidden)
            try:
                _remove_elsewhere(removal)
            except BaseException:
                with contextlib.suppress(OSError):
                    hidden.rename(folder)
                raise
    except RecordError:  # of its lock, which says what cannot be read
        raise
    except FileNotFoundError:
        raise DeleteError(
            f"study {removal.name} has just been deleted by another process"
        ) from None
    except OSError as error:
        raise DeleteError(
            f"{folder} cannot be removed ({error.strerror or error}); make it and "
            f"{folder.parent} writable"
        ) from error
    _remove_tree(hidden)
    _sweep(folder.parent)


def _remove_elsewhere(removal: Removal) -> None:
    """Remove what an object store has of a study, and its record in a database.

    Of what is in the store the plan goes last: by it the study is listed, and its record found,
    until all of it is gone.
    """
    mirror = mirror_of(removal.folder.parent)
    if mirror is None:
        if removal.storage is not None:
            _delete_recorded(removal.storage, removal.name, removal.mark)
        return
    plan = mirror.key(removal.folder / PLAN_FILE)
    files = [key for key in mirror.store.digests(f"{removal.name}/") if key != plan]
    left = "its record, its plan, and all or some of its files"
    try:
        mirror.remove(files)
        left = "its record and its plan"
        if removal.storage is not None:
            _delete_recorded(removal.storage, removal.name, removal.mark)
        left = "its plan"
        mirror.remove([plan])
    except (StoreError, _RecordStaysError) as error:
        told, mend = str(error), _UnreachableError.mend
        if isinstance(error, _RecordStaysError):
            told, mend = error.told, error.mend
        raise RemnantError(
            f"study {removal.name} is deleted in part ({told}); left are {left}: {mend}"
        ) from error


def finish_earlier(studies: Path, name: str) -> bool:
    """Remove what a killed deletion left of a study; whether it did, and no such study is there.

    One that was killed before it had removed anything here is undone: the study gets its name back.

    Raises:
        StudyNameError: if no study can have that name.
        LockedError: if that deletion goes on.
        RemnantError: if some files cannot be removed.
    """
    folder, left = StudyName(name).folder(studies), leftovers(studies).get(name, [])
    if not left or _is_study(folder):
        return False
    for path in left:
        if _is_study(path):
            _bring_back(path, folder)
            return False
    _sweep(studies)
    return True


def _bring_back(hidden: Path, folder: Path) -> None:
    """Give a study its name back whose deletion was killed."""
    holder = read_holder(hidden)
    if holder is not None and holder.is_visible() and not holder.is_gone():
        raise LockedError(f"study {folder.name} is being deleted by {holder}; wait for it")
    try:
        hidden.rename(folder)
    except OSError as error:
        raise RemnantError(
            f"a deletion of study {folder.name} was killed and left it in {hidden}, which cannot "
            f"be renamed to {folder} ({error.strerror or error}); rename it, then delete it"
        ) from error


def leftovers(studies: Path) -> dict[str, list[Path]]:
    """Return the folders that killed deletions left, by the name of the study they were."""
    found: dict[str, list[Path]] = {}
    # What may not be read is said where the study is looked for.
    there: list[Path] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        there = sorted(studies.iterdir())
    for path in there:
        match = _LEFTOVER.fullmatch(path.name)
        if match is not None and path.is_dir() and not path.is_symlink():
            found.setdefault(match["name"], []).append(path)
    return found


def _sweep(studies: Path) -> None:
    """Remove what killed deletions left; one with a plan may have its record still."""
    for paths in leftovers(studies).values():
        for path in paths:
            if not _is_study(path):
                _remove_tree(path)


def _is_study(path: Path) -> bool:
    """Whether a folder is a study, or may be one: of somebody else's nothing is removed."""
    try:
        return is_study(path)
    except OSError:
        return True


def _remove_tree(path: Path) -> None:
    """Remove a folder; links in it are removed, never followed, and no link is taken for it."""
    try:
        # First of all the plan: without it, no list of studies shows what is left.
        (path / PLAN_FILE).unlink(missing_ok=True)
        while path.exists():
            try:
                shutil.rmtree(path)
            except FileNotFoundError:  # another deletion sweeps it too
                continue
    except OSError as error:
        raise RemnantError(
            f"the study is deleted, but files of it are left in {path} "
            f"({error.strerror or error}); make them writable, and delete that folder"
        ) from error


def _find_recorded(folder: Path) -> _Recorded:
    """Return where the plan in a folder has its record."""
    try:
        document = read_plan_file(folder) or {}
        url, name = document["plan"]["storage"], str(document["name"])
        here = None if url is None else seen_from_here(url, document)
        return _Recorded(here, name, document.get(RECORD_ID))
    except RecordError as error:
        raise _PlanDamagedError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise _PlanDamagedError(f"{folder / PLAN_FILE} lacks a field ({error})") from error


def _count_recorded(url: str, name: str) -> int:
    """Return the number of trials in a database's record; 0 where it holds no such study.

    Raises:
        DeleteError: if the database cannot be reached.
    """
    storage = _open_storage(url, name)
    try:
        return int(storage.get_n_trials(storage.get_study_id_from_name(name)))
    except KeyError:
        return 0
    except Exception as error:  # every driver raises its own kind
        raise _UnreachableError(url, name, error) from error


def _is_another_s(url: str, name: str, mark: str | None) -> bool:
    """Whether a record in a database, which can be opened, bears another folder's mark.

    Raises:
        DeleteError: if the database cannot be reached.
    """
    try:
        return of_another_folder(url, name, mark)
    except Exception as error:  # every driver raises its own kind
        raise _UnreachableError(url, name, error) from error


def _delete_recorded(url: str, name: str, mark: str | None) -> None:
    storage = _open_storage(url, name)
    if _is_another_s(url, name, mark):
        raise _ClaimedError(url, name)
    try:
        storage.delete_study(storage.get_study_id_from_name(name))
    except KeyError:
        pass  # a deletion that was killed here had done that much
    except Exception as error:
        raise _UnreachableError(url, name, error) from error


def _open_storage(url: str, name: str) -> Any:
    import optuna
    from sqlalchemy.engine import make_url

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        where = make_url(url)
        if where.get_backend_name() == "sqlite" and not Path(where.database or "").is_file():
            # Opened, it would be made.
            raise FileNotFoundError(f"no file {where.database}")
        return optuna.storages.get_storage(url)
    except Exception as error:
        raise _UnreachableError(url, name, error) from error
