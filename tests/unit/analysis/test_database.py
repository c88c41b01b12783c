from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from postgres import running_postgres
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from analysis import database
from analysis.database import open_database


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
    import optuna

    looks: list[str] = []
    storage = optuna.storages.RDBStorage

    def second(url: str, **options: object) -> object:
        looks.append(url)
        if len(looks) == 1:
            raise raised
        return storage(url)

    monkeypatch.setattr(optuna.storages, "RDBStorage", second)
    monkeypatch.setattr(database, "_SECONDS_BETWEEN", 0.0)
    assert open_database(f"sqlite:///{tmp_path / 'record.db'}").get_all_studies() == []
    assert len(looks) == 2


def test_a_database_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    looks: list[str] = []

    def gone(url: str, **options: object) -> object:
        looks.append(url)
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(optuna.storages, "RDBStorage", gone)
    with pytest.raises(OperationalError):
        open_database("postgresql+psycopg://me@127.0.0.1:1/db")
    assert len(looks) == 1


def test_several_open_a_new_database_at_once() -> None:
    with running_postgres() as server, ThreadPoolExecutor(6) as pool:
        together = Barrier(6)

        def opened(_: int) -> int:
            together.wait()
            return len(open_database(server.url).get_all_studies())

        assert list(pool.map(opened, range(6))) == [0] * 6
