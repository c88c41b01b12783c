"""How databases are connected to: none is waited for without end, whatever has become of it."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

# What a server may take to let one in, and how long it may then say nothing (s).
CONNECT_SECONDS = 5
SILENCE_SECONDS = 60.0
# Of one row, or a look whether a table is there.
BRIEF_SILENCE_SECONDS = 20.0
# What a server gives a statement, which it may go on with when nobody waits any more: no statement
# of ours takes a part of that.
_STATEMENT_SECONDS = 120
# Which of libpq's options a variable of its own may set.
_VARIABLES = {"connect_timeout": "PGCONNECT_TIMEOUT", "options": "PGOPTIONS"}


def connect_arguments(url: str) -> dict[str, Any]:
    """Return the connection options for a URL that bound every wait; what the URL sets stays.

    A peer that is gone, or a cut cable, is found out by the kernel within half a minute; one that
    hangs while its kernel answers is for :mod:`analysis.postgres` to notice.
    """
    from sqlalchemy.engine import make_url

    where = make_url(url)
    bounds: Mapping[str, Any] = {}
    if where.get_backend_name() == "mysql":
        bounds = {"connect_timeout": CONNECT_SECONDS}
    elif _by_libpq(where):
        bounds = {
            "connect_timeout": CONNECT_SECONDS,
            "keepalives": 1,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,
            "options": f"-c statement_timeout={_STATEMENT_SECONDS}s",
        }
    set_already = {name for name, variable in _VARIABLES.items() if variable in os.environ}
    return {
        name: value for name, value in bounds.items() if name not in {*where.query, *set_already}
    }


def engine_arguments(url: str, *, brief: bool = False) -> dict[str, Any]:
    """Return what SQLAlchemy's ``create_engine`` is to be given beside a URL.

    Args:
        url: Of any database; one in a file is not waited for.
        brief: Whether all that is asked there is answered at once.

    Raises:
        ImportError: if the driver that the URL names is not installed.
    """
    from sqlalchemy.engine import make_url

    arguments = connect_arguments(url)
    where = make_url(url)
    if not _by_libpq(where) or where.get_driver_name() != "psycopg":
        return {"connect_args": arguments} if arguments else {}
    from analysis.postgres import connecting

    silence = BRIEF_SILENCE_SECONDS if brief else SILENCE_SECONDS
    return {"creator": connecting(where, arguments, silence)}


def _by_libpq(where: "URL") -> bool:
    libpq = ("psycopg", "psycopg2")
    return where.get_backend_name() == "postgresql" and where.get_driver_name() in libpq
