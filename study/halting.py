"""What stands in a study's way from outside: it ends, with a line that says how to go on."""

import errno
import os
from pathlib import Path
from typing import TypeGuard

from study.cluster_tasks import WorkerLost
from study.commands import command
from study.database import database_gone
from study.ending import Ending
from study.object_store import StoreError

_SIGNALLED = 128


class Halted(RuntimeError):
    """Something outside the study stands in its way; the message names it and the mend."""


def halted_by(error: BaseException, folder: Path) -> Halted | None:
    """Return what to tell the user if a full disk, or a lost server or node, is the cause."""
    if is_disk_full(error):
        return Halted(disk_full(folder, full_elsewhere(error, folder)))
    if isinstance(error, StoreError | WorkerLost):
        return Halted(then_resume(str(error), folder))
    gone = database_gone(error, folder)
    return None if gone is None else Halted(gone)


def halted_at_last(ending: Ending, error: Exception, folder: Path) -> Ending:
    """Return how a run ends whose close was stood in the way of; raise what is not known to do so.

    Who was told by a signal to stop hears its exit code all the same.
    """
    if ending.word == "halted":
        return ending  # as was said already
    halted = halted_by(error, folder)
    if halted is None:
        raise error
    code = ending.exit_code if ending.exit_code > _SIGNALLED else 1
    note = str(halted) if ending.note is None else f"{ending.note}; {halted}"
    return Ending("halted", code, note)


def is_disk_full(error: BaseException) -> TypeGuard[OSError]:
    """Whether a disk is full, or what a user may have of it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def full_elsewhere(error: OSError, folder: Path) -> str | None:
    """Return the file that a full disk had no room for, where it is none of the studies'.

    None too where the error names no file, as none does of a write to an open one: most of what is
    written is the study's.

    Args:
        error: Of a disk that is full.
        folder: The study's folder on this machine.
    """
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return None
    file = Path(os.fsdecode(error.filename)).resolve()
    return None if file.is_relative_to(folder.parent.resolve()) else str(file)


def disk_full(folder: Path, elsewhere: str | None = None) -> str:
    """Say that a disk is full, and the mend.

    Args:
        folder: The study's folder on this machine.
        elsewhere: What lies on that disk, as of :func:`full_elsewhere`; None where the study does.
    """
    return (
        f"the disk that holds {elsewhere or folder} is full; nothing is lost: free some space "
        f"there, then go on with `{command('resume', folder)}`"
    )


def then_resume(told: str, folder: Path) -> str:
    """Say that a store or a worker is lost to a study, and how to go on once that is mended.

    Args:
        told: What went wrong, with what to look at.
        folder: The study's folder on this machine.
    """
    again = command("resume", folder)
    return f"{told}; nothing that was recorded is lost: then go on with `{again}`"
