"""A record's database: where it lies as seen from here, and opened as Optuna opens it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.connections import engine_arguments

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# Optuna makes its tables without a lock: who comes second to one of them fails, and looks again.
_LOOKS = 8
_SECONDS_BETWEEN = 0.25
_ALREADY_THERE = ("42P07", 1050)  # a table, as PostgreSQL and MySQL number it


def absolute_uri(uri: str, directory: Path) -> str:
    """The URI, where it is that of a SQLite file, with the path as seen from a directory."""
    start, path = "sqlite:///", uri.removeprefix("sqlite:///")
    if path == uri or not path or path.startswith(("/", ":memory:", "file:")):
        return uri
    return f"{start}{directory.absolute() / path}"


def seen_from_here(url: str, document: Mapping[str, Any]) -> str:
    """A stored plan's URL of a database; of a SQLite file, with the path as seen from here.

    A relative path begins where the study was started, as long as that is there.

    Args:
        url: As the plan has it.
        document: The content of plan.json.
    """
    directory = Path(document.get("directory", "."))
    return absolute_uri(url, directory if directory.is_dir() else Path())


def open_database(url: str, *, held: bool = True) -> "BaseStorage":
    """Open the storage at a database's URL; a connection that went stale is made again.

    In a new database the tables are made, though others make them at the same moment.

    Args:
        url: Of the database.
        held: Whether connections are kept for the next question. Who reads now and then has none
            in between: a server has only so many for all, and Optuna closes no storage.
    """
    for _ in range(_LOOKS - 1):
        try:
            return _opened(url, held)
        except Exception as error:  # SQLAlchemy's, which only a database needs
            if not _made_by_another(error):
                raise
            time.sleep(_SECONDS_BETWEEN)
    return _opened(url, held)


def _opened(url: str, held: bool) -> "BaseStorage":
    import optuna
    from sqlalchemy.pool import NullPool

    pool: dict[str, Any] = {"pool_pre_ping": True} if held else {"poolclass": NullPool}
    kept = {**pool, **engine_arguments(url)}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=kept)
    return optuna.storages.get_storage(storage)


def _made_by_another(error: Exception) -> bool:
    """Whether a table, or a row that every database has, was there already when it was made."""
    from sqlalchemy.exc import DBAPIError, IntegrityError

    if isinstance(error, IntegrityError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # By its number where there is one: servers speak the language that they are told to.
    cause: Any = error.orig
    number = getattr(cause, "sqlstate", None) or next(iter(getattr(cause, "args", ())), None)
    return number in _ALREADY_THERE or "already exists" in str(error)


__all__ = ["absolute_uri", "open_database", "seen_from_here"]
