"""Connections of psycopg that give up a server which lets one in and then says nothing.

Neither libpq nor the kernel notices that: the connection is sound, and who waits, waits for ever.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from sqlalchemy.engine import URL

T = TypeVar("T")


class SilentServerError(psycopg.OperationalError):
    """A server has not answered for too long; its connection is closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose every wait ends once the server has been silent for ``silence`` s."""

    silence = 60.0

    def wait(self, gen: "PQGen[T]", *arguments: Any, **named: Any) -> T:
        """Wait as psycopg does, but not for ever.

        Raises:
            SilentServerError: if the server says nothing.
        """
        try:
            return super().wait(_while_heard(gen, self.silence), *arguments, **named)
        except SilentServerError:
            # What it was asked may yet be answered: nothing else can be asked here.
            self.close()
            raise


def connecting(
    url: "URL", arguments: Mapping[str, Any], silence: float
) -> Callable[[], BoundedConnection]:
    """Return what makes connections to a URL, for SQLAlchemy's pool.

    Args:
        url: Its own options win.
        arguments: Further options.
        silence: How long the server may say nothing (s).
    """
    positional, given = url.get_dialect()().create_connect_args(url)

    def connect() -> BoundedConnection:
        made = BoundedConnection.connect(*positional, **{**arguments, **given})
        made.silence = silence
        return made

    return connect


def _while_heard(gen: "PQGen[T]", seconds: float) -> "PQGen[T]":
    """Pass on what a generator of psycopg's waits for, and what it hears, as long as it hears."""
    heard = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                raise SilentServerError(f"the server has not answered for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
