"""A record in a database: checked before a study is begun, claimed, and told when gone."""

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.connections import engine_arguments
from analysis.formatting import without_password
from study.commands import command

if TYPE_CHECKING:
    from sqlalchemy import Engine

# In plan.json and in the database: which folder a record belongs to.
RECORD_ID = "record_id"
_DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
}


def record_id(stored: Mapping[str, Any] | None) -> str:
    """Return what ties a study's folder to its record in a database, from its stored plan.

    A new one where there is no plan, or where the record is a file in the folder.
    """
    return str((stored or {}).get(RECORD_ID) or uuid.uuid4().hex)


def check_database(url: str, name: str, stored: Mapping[str, Any] | None) -> str | None:
    """Say why a study cannot keep its record in a database, or nothing; writes nothing there.

    Args:
        url: The database.
        name: The study's name, under which the record lies there.
        stored: The stored plan of the study's folder; None if there is none yet.
    """
    from sqlalchemy.engine import make_url

    shown = f"--storage {without_password(url)}"
    try:
        where = make_url(url)
    except Exception:
        return f"{shown} is not a database URL; write it as postgresql+psycopg://user@host/name"
    if where.get_backend_name() == "sqlite" and not Path(where.database or "").is_file():
        # Made when it is opened; a folder that is not there would be found out too late.
        folder = Path(where.database or "").absolute().parent
        return None if folder.is_dir() else f"{shown}: there is no folder {folder}; make it first"
    try:
        owner = _owner(url, name)
    except ImportError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        return f"{shown} needs {error.name}; install it with pip install '{package}'"
    except Exception as error:
        return f"{shown} cannot be opened ({cause_of(error)}); check that it runs, and the URL"
    if owner is None or (stored is not None and owner in ("", stored.get(RECORD_ID))):
        return None
    return _of_another(url, name)


def _of_another(url: str, name: str) -> str:
    return (
        f"--storage {without_password(url)} holds a study {name} of another folder already; give "
        "this one a --name of its own, or a database of its own"
    )


def claim(url: str, name: str, mark: str) -> str | None:
    """Mark a record as that of a folder, unless it is another's; say so then, or nothing.

    Of several that claim one at once, the first has it: a database keeps one mark a record, and
    refuses a second.

    Args:
        url: The database, which holds the record.
        name: The study's name there.
        mark: From :func:`record_id`.
    """
    from sqlalchemy import exc, text

    if _owner(url, name) == "":
        written = {"name": name, "key": RECORD_ID, "mark": json.dumps(mark)}
        statement = (
            f"INSERT INTO study_user_attributes (study_id, {_key(url)}, value_json) "
            "VALUES ((SELECT study_id FROM studies WHERE study_name = :name), :key, :mark)"
        )
        with (
            contextlib.suppress(exc.IntegrityError),
            _engine(url) as engine,
            engine.begin() as connection,
        ):
            connection.execute(text(statement), written)
    return None if _owner(url, name) == mark else _of_another(url, name)


def of_another_folder(url: str, name: str, mark: str | None) -> bool:
    """Whether a record is another folder's; one that bears no mark is whose plan names it.

    Args:
        url: The database, which can be opened.
        name: The study's name there.
        mark: Of the folder that asks, from its stored plan; None where that has none.
    """
    return _owner(url, name) not in (None, "", mark)


def _owner(url: str, name: str) -> str | None:
    """The mark of who owns a record; empty where it bears none, None if there is no record."""
    from sqlalchemy import inspect, text

    with _engine(url) as engine, engine.connect() as connection:
        if not inspect(connection).has_table("study_user_attributes"):
            return None
        found = connection.execute(
            text("SELECT study_id FROM studies WHERE study_name = :name"), {"name": name}
        ).scalar()
        if found is None:
            return None
        statement = (
            "SELECT value_json FROM study_user_attributes "
            f"WHERE study_id = :study AND {_key(url)} = :key"
        )
        marked = {"study": found, "key": RECORD_ID}
        value = connection.execute(text(statement), marked).scalar()
    return "" if value is None else str(json.loads(value))


@contextlib.contextmanager
def _engine(url: str) -> "Iterator[Engine]":
    from sqlalchemy import create_engine

    made = create_engine(url, **engine_arguments(url, brief=True))
    try:
        yield made
    finally:
        made.dispose()


def _backend(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).get_backend_name()


def _key(url: str) -> str:
    """The name of a column as each database wants it quoted."""
    return '"key"' if _backend(url) == "postgresql" else "`key`"


def database_gone(error: BaseException, folder: Path) -> str | None:
    """Say that the database of a study does not answer, with the mend, if that is the error."""
    cause: BaseException | None = error
    while cause is not None:
        if _does_not_answer(cause):
            return (
                f"the database with the record does not answer ({cause_of(cause)}); what it has "
                f"is safe: once it runs, go on with `{command('resume', folder)}`"
            )
        # Optuna asks once more within the transaction that was lost, and is refused for that:
        # the loss itself is what was being handled.
        cause = cause.__cause__ or (cause.__context__ if _of_sqlalchemy(cause) else None)
    return None


def _of_sqlalchemy(error: BaseException) -> bool:
    return type(error).__module__.startswith("sqlalchemy.exc")


def _does_not_answer(error: BaseException) -> bool:
    """Whether it is of the connection; any other error of a database is one of this program."""
    if not _of_sqlalchemy(error):
        return False
    from sqlalchemy import exc

    gone = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.DisconnectionError)
    return isinstance(error, gone) or bool(getattr(error, "connection_invalidated", False))


def unusable(storage: str, error: Exception) -> str:
    """Say that a record, at a URL or in a folder, cannot be opened, with the mend."""
    what = f"the record at {without_password(storage)} cannot be opened ({cause_of(error)})"
    return f"{what}; check --storage or the folder"


def cause_of(error: BaseException) -> str:
    """Return the first line of what a storage's driver says, without passwords."""
    # SQLAlchemy names the driver's own error first, in parentheses, then what was asked of it.
    cause = getattr(error, "orig", None) or error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    text = str(cause).strip()
    return without_password(text.splitlines()[0]) if text else type(cause).__name__
