"""The journal file of a record, kept whole: Optuna's own, mended where a writer was cut off."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages.journal import JournalFileBackend


def mend_journal(journal: Path) -> None:
    """Make good what a killed driver left; to be called by the one that has the study's lock.

    A last line without its end is cut off: Optuna reads past such a line, but would append the next
    one to it, and so lose both. Optuna's own lock on the file is removed: nobody else writes, and
    Optuna would wait half a minute for its holder.
    """
    _drop_torn_line(journal)
    for leftover in journal.parent.glob(f"{journal.name}.lock*"):
        leftover.unlink(missing_ok=True)


def _drop_torn_line(journal: Path) -> None:
    try:
        with journal.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                os.fsync(file.fileno())
    except FileNotFoundError:
        pass


def open_journal(journal: Path) -> "JournalFileBackend":
    """Return Optuna's backend for the file; an append that fails half-way leaves no half of a line.

    On a full disk a part of a line may get there. The next append would be joined to it, and Optuna
    would find the file damaged in its middle.
    """
    from optuna.storages.journal import JournalFileBackend

    class WholeLines(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            try:
                super().append_logs(logs)
            except OSError:
                _drop_torn_line(journal)
                raise

    return WholeLines(str(journal))
