import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from optuna.storages._rdb.models import BaseModel
from postgres import running_postgres
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from analysis import database
from analysis.database import absolute_uri, open_database, seen_from_here

TABLES = BaseModel.metadata


def test_a_database_is_opened_as_a_storage(tmp_path: Path) -> None:
    storage = open_database(f"sqlite:///{tmp_path / 'record.db'}")
    assert storage.get_all_studies() == []


@pytest.mark.parametrize(
    "raised",
    [
        IntegrityError("CREATE TABLE", {}, Exception("duplicate key in pg_type")),
        ProgrammingError("CREATE TABLE", {}, Exception('relation "studies" already exists')),
        OperationalError("CREATE TABLE", {}, Exception("table studies already exists")),
    ],
)
def test_who_finds_that_another_made_the_tables_looks_again(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    make = TABLES.create_all

    def second(engine: Any) -> None:
        looks.append(engine)
        if len(looks) == 1:
            raise raised
        make(engine)

    monkeypatch.setattr(TABLES, "create_all", second)
    monkeypatch.setattr(database, "_SECONDS_BETWEEN", 0.0)
    assert open_database(f"sqlite:///{tmp_path / 'record.db'}").get_all_studies() == []
    assert len(looks) == 2


def test_a_database_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []

    def gone(engine: object) -> None:
        looks.append(engine)
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(TABLES, "create_all", gone)
    with pytest.raises(OperationalError):
        open_database(f"sqlite:///{tmp_path / 'record.db'}")
    assert len(looks) == 1


def test_several_open_a_new_database_at_once() -> None:
    with running_postgres() as server, ThreadPoolExecutor(6) as pool:
        together = Barrier(6)

        def opened(_: int) -> int:
            together.wait()
            return len(open_database(server.url).get_all_studies())

        assert list(pool.map(opened, range(6))) == [0] * 6


@pytest.mark.parametrize(("held", "left"), [(True, range(5, 100)), (False, range(1))])
def test_who_reads_now_and_then_holds_no_connection_in_between(held: bool, left: range) -> None:
    import psycopg

    counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'of a reader'"
    with running_postgres() as server:
        url = f"{server.url}?application_name=of+a+reader"
        readers = [open_database(url, held=held) for _ in range(5)]
        assert [reader.get_all_studies() for reader in readers] == [[]] * 5
        owner = server.url.replace("+psycopg", "")
        with psycopg.connect(owner, autocommit=True) as connection:
            deadline = time.monotonic() + 60  # a server takes a moment to see one off
            while (row := connection.execute(counted).fetchone()) is None or row[0] not in left:
                assert time.monotonic() < deadline, row
                time.sleep(0.1)


def test_a_relative_file_begins_where_the_study_was_started_while_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there, gone = {"directory": str(tmp_path / "there")}, {"directory": str(tmp_path / "gone")}
    (tmp_path / "there").mkdir()
    url = "sqlite:///record.db?timeout=9"
    assert seen_from_here(url, there) == f"sqlite:///{tmp_path}/there/record.db?timeout=9"
    assert seen_from_here(url, gone) == f"sqlite:///{tmp_path}/record.db?timeout=9"
    for as_it_is in ("sqlite:////a/record.db", "sqlite:///:memory:", "postgresql://me@host/db"):
        assert absolute_uri(as_it_is, tmp_path) == as_it_is
