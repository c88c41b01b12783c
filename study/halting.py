"""What stands in a study's way from outside: it ends, with a line that says how to go on."""

import errno
from pathlib import Path

from study.cluster_tasks import WorkerLost
from study.commands import command
from study.database import database_gone
from study.object_store import StoreError


class Halted(RuntimeError):
    """Something outside the study stands in its way; the message names it and the mend."""


def halted_by(error: BaseException, folder: Path) -> Halted | None:
    """Return what to tell the user if a full disk, or a lost server or node, is the cause."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Halted(disk_full(folder))
    if isinstance(error, StoreError | WorkerLost):
        return Halted(then_resume(str(error), folder))
    gone = database_gone(error, folder)
    return None if gone is None else Halted(gone)


def disk_full(folder: Path) -> str:
    """Say that the disk of a study is full, and the mend."""
    return (
        f"the disk that holds {folder} is full; nothing is lost: free some space there, then go on "
        f"with `{command('resume', folder)}`"
    )


def then_resume(told: str, folder: Path) -> str:
    """Say that a store or a worker is lost to a study, and how to go on once that is mended.

    Args:
        told: What went wrong, with what to look at.
        folder: The study's folder on this machine.
    """
    again = command("resume", folder)
    return f"{told}; nothing that was recorded is lost: then go on with `{again}`"
