"""A trial is added once, also where a database commits it and the answer never comes."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from postgres import Postgres, running_postgres
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Timing,
    trained_alone,
)
from search_spaces.cifar_self import SPACE
from study import additions
from study.proposal import distributions
from study.record import StudyRecord, now

TIMING, RATIO = Timing(2.0, 2.5), Ratio(2.0, 1.9, 2.1)
LATENCY = Latency("cpu", 1, "float32", False, 20, *(TIMING,) * 4, *(RATIO,) * 2)
SIZE = ModelSize(1.5, 30.0, 6_000_000)
CURVE = [EpochResult(epoch, 1.0, 1.1, 40.0 + epoch, 0.05, 3.0) for epoch in (1, 2)]
OUTCOME = Outcome("complete", None, 2, 60.0, 5.0, 6.0, now())


def open_record(folder: Path, url: str | None = None) -> StudyRecord:
    record = StudyRecord(folder, "mine", url or f"sqlite:///{folder / 'record.db'}")
    record.set_attribute("reference_point", ReferencePoint(10.0, 10.0, 100.0).to_json())
    return record


def add(record: StudyRecord, **different: Any) -> int:
    params = SPACE.complete({"width": 16, **different})
    return record.add_trial(
        params,
        distributions(SPACE, params),
        source="sampler",
        label=None,
        architecture=SPACE.describe(params),
        epochs=2,
    )


def add_exit(record: StudyRecord, trained_with: int = 0) -> int:
    params = {**record.trial(trained_with).params, "exit": 1}
    about: dict[str, Any] = {"architecture": SPACE.describe(params), "model": SIZE}
    limits = {"violations": {"params_m": -1.0}}
    return record.add_exit(trained_with, 1, latency=LATENCY, curve=CURVE, **about, **limits)


def trained(record: StudyRecord) -> StudyRecord:
    """The same, with a trial that has come to its end."""
    number = add(record)
    for epoch in CURVE:
        record.epoch(number, epoch)
    record.finish(number, OUTCOME)
    return record


Lose = Callable[[int], None]


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Has the answers to so many further additions be lost, once they are committed."""
    prepare, commit = RDBStorage._get_prepared_new_trial, Session.commit
    left, added = 0, False

    def lose(answers: int) -> None:
        nonlocal left
        left = answers

    def prepared(storage: RDBStorage, *rest: Any) -> Any:
        nonlocal added
        added = True
        return prepare(storage, *rest)

    def committed(session: Session) -> None:
        nonlocal left, added
        commit(session)
        is_lost, added = added and left > 0, False
        if is_lost:
            left -= 1
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(RDBStorage, "_get_prepared_new_trial", prepared)
    monkeypatch.setattr(Session, "commit", committed)
    monkeypatch.setattr("random.random", lambda: 0.0)  # Optuna waits that long before it asks again
    return lose


def assert_closed(record: StudyRecord, twin: int, of: int) -> None:
    trial = record.trial(twin)
    assert trial.closed
    assert trial.status == "stopped"
    assert trial.reason == f"it is t{of:04d}, recorded twice as a database's answer was lost"
    assert (trial.curve, trial.val_score, trial.epochs_done) == ((), None, 0)
    frozen = record.frozen_trials()[twin]
    assert (frozen.state.name, frozen.values) == ("FAIL", None)


@pytest.mark.parametrize("lost", [1, 3])
def test_a_trial_whose_addition_is_not_answered_is_there_once(
    tmp_path: Path, lose: Lose, lost: int
) -> None:
    record = trained(open_record(tmp_path))
    lose(lost)
    number = add(record, temperature=2.0)
    record.epoch(number, CURVE[0])

    assert number == 1
    assert record.interrupted() == [1]
    for twin in range(2, 2 + lost):
        assert_closed(record, twin, number)
    assert add(record, temperature=3.0) == 2 + lost
    again = open_record(tmp_path)
    assert again.interrupted() == [1, 2 + lost]
    assert again.trial(1).curve == tuple(CURVE[:1])


def test_a_further_run_whose_addition_is_not_answered_is_there_once(
    tmp_path: Path, lose: Lose
) -> None:
    record = trained(open_record(tmp_path))
    lose(1)
    number = record.add_replicate(0, 1)

    assert record.interrupted() == [number] == [1]
    assert_closed(record, 2, number)
    # What was stopped asks for no run less.
    assert [trial.run for trial in record.trials()[1:]] == [1, 1]


def test_an_exit_whose_addition_is_not_answered_is_one_point(tmp_path: Path, lose: Lose) -> None:
    record = trained(open_record(tmp_path))
    lose(1)
    number = add_exit(record)

    assert record.exit_of(0, 1) == number == 1
    frozen = record.frozen_trials()[number]
    assert (frozen.state.name, frozen.values) == ("COMPLETE", [42.0, 5.0])
    assert frozen.constraints == {"params_m": -1.0}
    assert record.trial(number).curve == tuple(CURVE)
    assert_closed(record, 2, number)
    assert [trial.number for trial in record.trials() if trial.status == "complete"] == [0, 1]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the driver's runs after it."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    "at",
    [
        (additions, "_numbered_after"),
        (RDBStorage, "set_trial_user_attr"),
        (RDBStorage, "set_trial_state_values"),
    ],
)
@pytest.mark.parametrize("added", [add, add_exit])
def test_a_driver_killed_before_a_twin_is_closed_has_the_next_one_close_it(
    tmp_path: Path,
    lose: Lose,
    monkeypatch: pytest.MonkeyPatch,
    at: tuple[Any, str],
    added: Callable[[StudyRecord], int],
) -> None:
    record = trained(open_record(tmp_path))
    lose(1)
    owner, name = at
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            added(record)

    again = open_record(tmp_path)
    expected = [1] if added is add else []
    assert again.interrupted() == expected
    assert again.trial(1).status == ("running" if added is add else "complete")
    assert_closed(again, 2, 1)
    assert open_record(tmp_path).interrupted() == expected


def test_an_exit_of_a_driver_killed_before_it_told_of_it_is_told_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = trained(StudyRecord(tmp_path, "mine", None))
    record.set_attribute("reference_point", ReferencePoint(10.0, 10.0, 100.0).to_json())
    with monkeypatch.context() as patch:
        patch.setattr(StudyRecord, "_tell", killed)
        with pytest.raises(Killed):
            add_exit(record)

    again = StudyRecord(tmp_path, "mine", None)
    assert again.interrupted() == []
    frozen = again.frozen_trials()[1]
    assert (frozen.state.name, frozen.values) == ("COMPLETE", [42.0, 5.0])


def test_an_addition_looks_at_no_trial_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = open_record(tmp_path)
    for number in range(5):
        assert add(record, temperature=1.0 + number) == number
    looked: list[int] = []
    found = RDBStorage.get_trial_id_from_study_id_trial_number

    def find(storage: RDBStorage, study: int, number: int) -> int:
        looked.append(number)
        return found(storage, study, number)

    monkeypatch.setattr(RDBStorage, "get_trial_id_from_study_id_trial_number", find)
    monkeypatch.setattr(RDBStorage, "get_trial", killed)

    assert add(record, temperature=9.0) == 5
    assert looked == [6]


def test_trials_that_are_alike_and_were_added_apart_stay(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    assert [add(record) for _ in range(3)] == [0, 1, 2]
    assert open_record(tmp_path).interrupted() == [0, 1, 2]


@contextmanager
def behind_a_line_that_breaks(server: Postgres) -> Iterator[tuple[str, Lose]]:
    """A PostgreSQL's URL by way of a line, and what has it break before trials are confirmed."""
    left = 0

    def lose(answers: int) -> None:
        nonlocal left
        left = answers

    def serve(client: socket.socket) -> None:
        there = ("127.0.0.1", server.port)
        # Whoever is gone is answered no more.
        with suppress(OSError), closing(client), closing(socket.create_connection(there)) as far:
            cut = threading.Event()

            def answer() -> None:
                with suppress(OSError):
                    while (data := far.recv(65536)) and not cut.is_set():
                        client.sendall(data)
                    client.shutdown(socket.SHUT_RDWR)

            answering = threading.Thread(target=answer, daemon=True)
            answering.start()
            pass_on(client, far, cut)
            far.shutdown(socket.SHUT_RDWR)
            answering.join()

    def pass_on(client: socket.socket, far: socket.socket, cut: threading.Event) -> None:
        nonlocal left
        asked = b""
        while data := client.recv(65536):
            asked += data
            if b"COMMIT\0" in asked:
                if b"INSERT INTO trials " in asked and left > 0:
                    left -= 1
                    cut.set()  # the answer to it goes nowhere
                asked = b""
            far.sendall(data)

    with closing(socket.create_server(("127.0.0.1", 0))) as line:

        def accept() -> None:
            while True:
                try:
                    client, _ = line.accept()
                except OSError:  # closed
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.url.replace(f":{server.port}/", f":{line.getsockname()[1]}/"), lose


def test_postgresql_that_commits_a_trial_unheard_has_it_once(tmp_path: Path) -> None:
    with running_postgres() as server, behind_a_line_that_breaks(server) as (url, lose):
        record = trained(open_record(tmp_path, url))
        lose(2)
        number = add(record, temperature=2.0)
        lose(1)
        exit_ = add_exit(record)

        assert (number, exit_) == (1, 4)
        again = open_record(tmp_path, url)
        assert again.interrupted() == [1]
        for twin, of in ((2, 1), (3, 1), (5, 4)):
            assert_closed(again, twin, of)
        complete = [trial for trial in again.trials() if trial.status == "complete"]
        assert [trial.number for trial in complete] == [0, 4]
        assert len(trained_alone(complete)) == 1
