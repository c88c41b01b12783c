"""A record's database, opened as Optuna opens it, by several processes at once if need be."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# Optuna makes its tables without a lock: who comes second to one of them fails, and looks again.
_LOOKS = 8
_SECONDS_BETWEEN = 0.25


def open_database(url: str) -> "BaseStorage":
    """Open the storage at a database's URL; a connection that went stale is made again.

    In a new database the tables are made, though others make them at the same moment.
    """
    for _ in range(_LOOKS - 1):
        try:
            return _opened(url)
        except Exception as error:  # SQLAlchemy's, which only a database needs
            if not _made_by_another(error):
                raise
            time.sleep(_SECONDS_BETWEEN)
    return _opened(url)


def _opened(url: str) -> "BaseStorage":
    import optuna

    storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    return optuna.storages.get_storage(storage)


def _made_by_another(error: Exception) -> bool:
    """Whether a table, or a row that every database has, was there already when it was made."""
    from sqlalchemy.exc import DBAPIError, IntegrityError

    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, DBAPIError) and "already exists" in str(error).lower()


__all__ = ["open_database"]
