"""The lock of a study whose files lie in an object store: a row in the database of its record.

The same protocol as that of the lock file (:mod:`study.lock`), with the database in the place of
the file system: a row names the holder, who beats, and changes hands only from the holder that was
read. A request to stop is written into the row and found at the next beat.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from analysis.connections import engine_arguments
from study.database import cause_of
from study.lock import Holder, StudyLock
from study.mirror import mirror_of
from study.record import RecordError, read_plan_file

_TABLE = """CREATE TABLE IF NOT EXISTS study_drivers (
    study VARCHAR PRIMARY KEY,
    holder TEXT NOT NULL,
    stop TEXT,
    beaten TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp()
)"""
_NO_TABLE = "42P01"  # PostgreSQL's undefined_table


class RowError(RecordError, OSError):
    """The database with a study's lock does not answer, or refuses it; the message says so."""


@dataclass(frozen=True)
class DriverRow:
    """Who drives a study, in the database at ``url`` (PostgreSQL).

    Every method raises :class:`RowError` where the database does not answer, or refuses.
    """

    url: str = field(repr=False)
    study: str

    def holder(self) -> Holder | None:
        """Return who holds the lock; None if nobody does."""
        found = self._first("SELECT holder FROM study_drivers WHERE study = :study")
        return None if found is None else Holder.from_text(found)

    def beaten_ago(self) -> float | None:
        """Return how long ago (s) the holder last beat, by the database's clock."""
        ago = self._first(
            "SELECT EXTRACT(EPOCH FROM clock_timestamp() - beaten) FROM study_drivers "
            "WHERE study = :study"
        )
        return None if ago is None else float(ago)

    def take(self, gone: Holder | None, mine: Holder) -> bool:
        """Write a new holder into the row unless another was quicker; ``gone`` was the last one."""
        if self._first("SELECT to_regclass('study_drivers')") is None:
            self._make_table()
        if gone is None:
            return self._changed(
                "INSERT INTO study_drivers (study, holder) VALUES (:study, :mine) "
                "ON CONFLICT DO NOTHING",
                mine=mine.to_text(),
            )
        return self._changed(
            "UPDATE study_drivers SET holder = :mine, stop = NULL, beaten = clock_timestamp() "
            "WHERE study = :study AND holder = :gone",
            mine=mine.to_text(),
            gone=gone.to_text(),
        )

    def beat(self, before: Holder, mine: Holder) -> str | None:
        """Show that the holder lives; returns a request to stop, if there is one."""
        asked: str | None = self._first(
            "UPDATE study_drivers SET holder = :mine, beaten = clock_timestamp() "
            "WHERE study = :study AND holder = :before RETURNING stop",
            mine=mine.to_text(),
            before=before.to_text(),
        )
        return asked

    def ask_to_stop(self, holder: Holder) -> None:
        """Ask a driver to stop, at its next beat."""
        self._changed(
            "UPDATE study_drivers SET stop = :asked WHERE study = :study", asked=holder.to_text()
        )

    def give_back(self, mine: Holder) -> None:
        """Remove the row, if it is still of this holder."""
        self._changed(
            "DELETE FROM study_drivers WHERE study = :study AND holder = :mine", mine=mine.to_text()
        )

    def _make_table(self) -> None:
        try:
            self._changed(_TABLE)
        except RowError:  # another makes it at this moment: PostgreSQL lets one of them
            if self._first("SELECT to_regclass('study_drivers')") is None:
                raise

    def _first(self, statement: str, **values: str) -> Any:
        """The first value of the first row; None where there is none, or no table yet."""
        return self._run(statement, values, lambda result: result.scalar())

    def _changed(self, statement: str, **values: str) -> bool:
        return bool(self._run(statement, values, lambda result: result.rowcount == 1))

    def _run(self, statement: str, values: dict[str, str], take: Callable[[Any], Any]) -> Any:
        from sqlalchemy import exc, text

        try:
            with _engine(self.url).begin() as connection:
                return take(connection.execute(text(statement), {"study": self.study, **values}))
        except exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) == _NO_TABLE:  # no driver has been here yet
                return None
            raise RowError(
                f"the database refuses the lock of study {self.study} ({cause_of(error)}); let its "
                "role make the table study_drivers, and read and write it"
            ) from error
        except exc.SQLAlchemyError as error:
            raise RowError(
                f"the database with the lock of study {self.study} does not answer "
                f"({cause_of(error)}); check that it runs"
            ) from error


@cache
def _engine(url: str) -> Any:
    from sqlalchemy import create_engine

    return create_engine(url, pool_pre_ping=True, **engine_arguments(url, brief=True))


def row_of(folder: Path) -> DriverRow | None:
    """Return the row of a study in an object store, by its plan; None without one, or elsewhere.

    Raises:
        RecordError: if the plan is damaged.
    """
    if mirror_of(folder.parent) is None:
        return None
    storage = ((read_plan_file(folder) or {}).get("plan") or {}).get("storage")
    return None if storage is None else DriverRow(storage, folder.name)


class SharedLock(StudyLock):
    """The lock of a study whose files lie in an object store.

    Args:
        folder: The study's folder on this machine.
        row: Where its holder is written.
        on_wait: As of :class:`study.lock.StudyLock`.
    """

    def __init__(
        self, folder: Path, row: DriverRow, on_wait: Callable[[Holder], None] | None = None
    ) -> None:
        super().__init__(folder, on_wait)
        self._row = row
        self._handed_on: str | None = None

    def _read(self) -> Holder | None:
        return self._row.holder()

    def _take(self, gone: Holder | None) -> bool:
        return self._row.take(gone, self._me)

    def beat(self) -> None:
        """Show that the holder lives, and hand on a request to stop, once.

        Raises:
            RowError: if the database does not answer.
        """
        from study.watch import write_stop_request

        # As it is there: an answer to the beat before may have been lost.
        before = self._read()
        if before is None or not before.is_same_process(self._me):
            return  # another has taken it over
        asked = self._row.beat(before, replace(before, beat=before.beat + 1))
        if asked is not None and asked != self._handed_on:
            write_stop_request(self._path.parent, asked)
            self._handed_on = asked  # it stays in the row; twice would be to stop at once

    def __exit__(self, *exc: object) -> None:
        """Give the lock back; a database that is gone keeps it until another takes it over."""
        with contextlib.suppress(RowError):
            holder = self._read()
            if holder is not None and holder.is_same_process(self._me):
                self._row.give_back(holder)
