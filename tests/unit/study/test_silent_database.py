"""A PostgreSQL that lets one in and then says nothing, as a hung server does."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from analysis import connections
from analysis.connections import connect_arguments, engine_arguments
from analysis.database import open_database
from study.database import check_database, database_gone
from study.driver_row import DriverRow, RowError
from study.record import RecordError, StudyRecord

_SETTINGS = {
    **{"server_version": "15.0", "client_encoding": "UTF8", "TimeZone": "UTC"},
    **{"standard_conforming_strings": "on", "integer_datetimes": "on"},
}


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def let_in(client: socket.socket) -> None:
    """Greet a client as PostgreSQL does; what it asks then is read, and never answered."""
    with closing(client):
        while True:
            (length,) = struct.unpack("!I", client.recv(4))
            if struct.unpack("!I", client.recv(length - 4)[:4])[0] not in (80877103, 80877104):
                break
            client.sendall(b"N")  # no encryption
        told = [message(b"R", struct.pack("!I", 0))]
        told += [message(b"S", f"{name}\0{to}\0".encode()) for name, to in _SETTINGS.items()]
        told += [message(b"K", struct.pack("!II", 1, 2)), message(b"Z", b"I")]
        client.sendall(b"".join(told))
        while client.recv(4096):
            pass


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its URL; what is waited for is a second."""
    monkeypatch.setattr(connections, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(connections, "BRIEF_SILENCE_SECONDS", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:  # closed
                    return
                threading.Thread(target=let_in, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"postgresql+psycopg://me:secret@127.0.0.1:{server.getsockname()[1]}/db"


def told_within(seconds: float, ask: Callable[[], object]) -> str:
    """What is said, as one line and without the password, of what ends in time."""
    said: list[str] = []

    def asked() -> None:
        try:
            said.append(str(ask()))
        except (RowError, RecordError) as error:
            said.append(str(error))
        except OperationalError as error:
            said.append(database_gone(error, Path("studies/mine")) or "")

    thread = threading.Thread(target=asked, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "still waiting"
    (line,) = said
    assert "\n" not in line
    assert "secret" not in line
    return line


SILENCE = "the server has not answered for 1 s"


def test_the_lock_in_a_silent_database_is_told_of_in_time(silent: str) -> None:
    told = told_within(60, DriverRow(silent, "mine").holder)
    assert told == (
        f"the database with the lock of study mine does not answer ({SILENCE}); check that it runs"
    )


def test_a_record_in_a_silent_database_is_told_of_in_time(silent: str, tmp_path: Path) -> None:
    told = told_within(60, lambda: StudyRecord(tmp_path, "mine", silent))
    assert f"cannot be opened ({SILENCE}); check --storage" in told
    gone = told_within(60, lambda: open_database(silent))
    assert f"the database with the record does not answer ({SILENCE})" in gone
    assert "resume" in gone


def test_a_study_in_a_silent_database_is_refused_in_time(silent: str) -> None:
    told = told_within(60, lambda: check_database(silent, "mine", None))
    assert f"cannot be opened ({SILENCE}); check that it runs, and the URL" in told


def test_a_connection_to_postgresql_is_bounded_in_every_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("PGOPTIONS", "PGCONNECT_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    for url in ("postgresql+psycopg://me@host/db", "postgresql+psycopg2://me@host/db"):
        bounds = connect_arguments(url)
        assert set(bounds) == {
            *("connect_timeout", "tcp_user_timeout", "options"),
            *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        }
        assert bounds["options"] == "-c statement_timeout=120s"


def test_what_the_user_asks_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://me@host/db?connect_timeout=30&options=-csearch_path%3Dmine"
    assert not {"connect_timeout", "options"} & set(connect_arguments(url))
    monkeypatch.setenv("PGOPTIONS", "-c search_path=mine")
    assert "options" not in connect_arguments("postgresql+psycopg://me@host/db")


@pytest.mark.parametrize("url", ["sqlite:///record.db", "sqlite://"])
def test_a_database_in_a_file_is_opened_as_before(url: str) -> None:
    assert engine_arguments(url) == {}


def test_a_connection_has_the_bounds_and_the_options_of_its_url(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGOPTIONS", raising=False)
    connection = engine_arguments(f"{silent}?keepalives_idle=77")["creator"]()
    with closing(connection), socket.socket(fileno=socket.dup(connection.fileno())) as used:
        given = connection.info.get_parameters()
        assert given["options"] == "-c statement_timeout=120s"
        assert given["connect_timeout"] == "5"
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
