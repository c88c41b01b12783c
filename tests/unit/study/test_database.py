from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    TimeoutError,
)

from study import database
from study.database import (
    RECORD_ID,
    check_database,
    claim,
    database_gone,
    record_id,
)
from study.record import RecordError, StudyRecord
from study.runner import _open_record


def test_a_folder_keeps_the_mark_that_ties_it_to_its_record() -> None:
    assert record_id({RECORD_ID: "abc"}) == "abc"
    made = {record_id(None), record_id({})}
    assert len(made) == 2
    assert all(len(mark) == 32 for mark in made)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/db", "cannot be opened"),
        ("postgresql+psycopg://me:secret@127.0.0.1:port/db", "not a database URL"),
        ("mysql+pymysql://me:secret@127.0.0.1:1/db", "pip install 'pymysql'"),
        ("mysql://me:secret@127.0.0.1:1/db", "pip install 'mysqlclient'"),
        ("sqlite:////no/such/folder/record.db", "there is no folder /no/such/folder"),
    ],
)
def test_what_cannot_hold_a_record_is_said_without_its_password(url: str, words: str) -> None:
    problem = check_database(url, "mine", None) or ""
    assert words in problem
    assert "secret" not in problem
    assert "\n" not in problem


def test_a_file_of_sqlite_may_be_new(tmp_path: Path) -> None:
    assert check_database(f"sqlite:///{tmp_path / 'record.db'}", "mine", None) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_sqlite_that_holds_the_study_of_another_folder_is_refused(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    (tmp_path / "one").mkdir()
    record = StudyRecord(tmp_path / "one", "mine", url)
    record.set_attribute(RECORD_ID, "abc")

    assert check_database(url, "mine", {RECORD_ID: "abc"}) is None
    assert check_database(url, "another", None) is None
    for stored in (None, {}, {RECORD_ID: "other"}):
        assert "of another folder" in (check_database(url, "mine", stored) or "")


def begin(folder: Path, url: str) -> StudyRecord:
    folder.mkdir(exist_ok=True)
    return StudyRecord(folder, "mine", url)


def test_a_record_is_of_the_first_folder_that_claims_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    record = begin(tmp_path / "one", url)

    assert claim(url, "mine", "abc") is None
    assert record.attribute(RECORD_ID) == "abc"
    assert claim(url, "mine", "abc") is None
    assert "of another folder" in (claim(url, "mine", "other") or "")
    assert record.attribute(RECORD_ID) == "abc"


def test_of_two_that_find_a_record_unmarked_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    record = begin(tmp_path / "one", url)
    seen = database._owner
    # The other's mark comes between the second one's look and its own mark.
    looks = iter(("", None))
    monkeypatch.setattr(
        database, "_owner", lambda *asked: "" if next(looks) == "" else seen(*asked)
    )
    record.set_attribute(RECORD_ID, "abc")

    assert "of another folder" in (claim(url, "mine", "other") or "")
    assert record.attribute(RECORD_ID) == "abc"


def test_of_many_that_claim_a_record_at_once_one_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    record = begin(tmp_path / "one", url)
    marks = [f"mark {number}" for number in range(8)]

    with ThreadPoolExecutor(len(marks)) as pool:
        answers = list(pool.map(lambda mark: claim(url, "mine", mark), marks))

    (first,) = [mark for mark, answer in zip(marks, answers, strict=True) if answer is None]
    assert record.attribute(RECORD_ID) == first


@pytest.mark.parametrize("begun", [False, True])
def test_a_driver_that_finds_its_record_taken_is_refused_and_begins_no_study(
    tmp_path: Path, begun: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    begin(tmp_path / "one", url)
    assert claim(url, "mine", "abc") is None
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    plan = SimpleNamespace(name="mine", storage=url, third=None)
    inputs: Any = SimpleNamespace(folder=folder, plan=plan)

    with pytest.raises(RecordError, match="of another folder already"):
        _open_record(inputs, "other", begun=begun)

    assert (folder / "plan.json").exists() is begun
    assert _open_record(inputs, "abc", begun=begun).attribute(RECORD_ID) == "abc"


def test_a_look_at_a_file_of_sqlite_writes_nothing_into_it(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    path.touch()
    assert check_database(f"sqlite:///{path}", "mine", None) is None
    assert path.read_bytes() == b""

    path.write_bytes(b"notes of somebody, and no database" * 9)
    problem = check_database(f"sqlite:///{path}", "mine", None) or ""
    assert "cannot be opened (file is not a database)" in problem


def test_a_database_that_went_away_is_named_with_the_mend_and_other_errors_are_not() -> None:
    lost = OperationalError("SELECT 1", {}, Exception("server closed the connection\nand more"))
    try:
        raise RuntimeError("while it was written") from lost
    except RuntimeError as error:
        told = database_gone(error, Path("studies/mine")) or ""
    assert "server closed the connection" in told
    assert "python -m study resume mine" in told
    assert "\n" not in told
    assert database_gone(ValueError("no"), Path("mine")) is None


def test_a_database_that_is_lost_while_optuna_asks_twice_is_named_by_the_loss() -> None:
    # Optuna asks again within the transaction that was lost, and tells of that alone.
    again = PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    again.__context__ = OperationalError("SELECT 1", {}, Exception("server closed the connection"))
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = again
    told = database_gone(error, Path("studies/mine")) or ""
    assert "does not answer (server closed the connection)" in told


def test_only_errors_of_the_connection_say_that_a_database_does_not_answer() -> None:
    # The database answered; what it was asked is wrong, and a person has to see where.
    wrong = IntegrityError("INSERT", {}, Exception("duplicate key"))
    assert database_gone(wrong, Path("mine")) is None
    assert database_gone(ProgrammingError("SELEC", {}, Exception("syntax")), Path("mine")) is None
    ended = ProgrammingError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)
    for lost in (ended, TimeoutError("no connection was free"), InterfaceError("", {}, OSError())):
        assert "does not answer" in (database_gone(lost, Path("mine")) or "")
