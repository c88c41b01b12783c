"""What a record keeps at hand of its trials is what its storage holds, after every write."""

from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages.journal import JournalFileBackend

from analysis import record as reading
from analysis.results import (
    ATTR_REFERENCE_POINT,
    Confirmation,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Timing,
    TrialResult,
    Usage,
    idle_attribute,
)
from search_spaces.space import EXIT
from study.record import StudyRecord, now

SIZE = ModelSize(1.5, 30.0, 6_000_000)
SPACE = {"rate": FloatDistribution(0.0, 1.0), EXIT: CategoricalDistribution([1, 2])}
# What the writes are made to: each open, measured and scored once, or ended.
OPEN, ENDED, UNMEASURED = range(3)


def latency(ratio: float = 2.0) -> Latency:
    timing, bounds = Timing(2.0, 2.5), Ratio(ratio, ratio - 0.1, ratio + 0.1)
    return Latency("cpu", 1, "float32", False, 20, timing, timing, timing, timing, bounds, bounds)


def epoch(number: int) -> EpochResult:
    return EpochResult(number, 1.0, 1.1, 50.0 + number, 0.05, 3.0)


def outcome() -> Outcome:
    return Outcome("complete", None, 1, 51.0, 5.0, 3.0, now())


def add(record: StudyRecord, architecture: str = "small") -> int:
    params = {"rate": 0.5, EXIT: 1}
    words: Any = {"source": "sampler", "label": None, "architecture": architecture, "epochs": 2}
    return record.add_trial(params, SPACE, **words)


def add_exit(record: StudyRecord) -> None:
    about: Any = {"architecture": "left", "model": SIZE, "latency": latency(3.0)}
    record.add_exit(OPEN, 2, curve=[epoch(1)], **about)


def confirm(record: StudyRecord) -> None:
    record.confirm(ENDED, Confirmation(91.5, latency(4.0)))


Write = Callable[[StudyRecord], object]
POINT = ReferencePoint(10.0, 20.0, 100.0)
WRITES: dict[str, Write] = {
    "add_trial": add,
    "add_replicate": lambda record: record.add_replicate(ENDED, 1),
    "add_exit": add_exit,
    "measured": lambda record: record.measured(UNMEASURED, SIZE, latency(5.0)),
    "epoch": lambda record: record.epoch(OPEN, epoch(2)),
    "an epoch anew": lambda record: record.epoch(OPEN, EpochResult(1, 1.0, 1.0, 9.0, 0.1, 3.0)),
    "waits": lambda record: record.waits(OPEN, 1),
    "use": lambda record: record.use(OPEN, Usage(1, 60.0)),
    "finish": lambda record: record.finish(OPEN, outcome(), {"latency": 0.0}),
    "confirm": confirm,
    "timed": lambda record: record.timed("small", latency(4.0)),
    "set_run_id": lambda record: record.set_run_id(OPEN, "run"),
    "set_run_id of one that has ended": lambda record: record.set_run_id(ENDED, "run"),
    "the point": lambda record: record.set_attribute(ATTR_REFERENCE_POINT, POINT.to_json()),
    "idle": lambda record: record.set_attribute(idle_attribute("small"), latency(6.0).to_json()),
}


def a_study(folder: Path, storage: str | None) -> StudyRecord:
    """A record with trials, all of which have been read."""
    record = StudyRecord(folder, "study", storage)
    point = ReferencePoint(10.0, 10.0, 100.0)
    record.set_attribute(ATTR_REFERENCE_POINT, point.to_json())
    for number in (add(record), add(record)):
        record.measured(number, SIZE, latency())
        record.epoch(number, epoch(1))
    add(record, "large")
    record.finish(ENDED, outcome())
    record.trials()
    return record


def a_fresh_look(folder: Path, storage: str | None = None) -> tuple[TrialResult, ...]:
    return StudyRecord(folder, "study", storage).trials()


def one_by_one(record: StudyRecord) -> tuple[TrialResult, ...]:
    found = []
    for number in count():
        try:
            found.append(record.trial(number))
        except KeyError:
            return tuple(found)
    raise AssertionError


def together(record: StudyRecord) -> tuple[TrialResult, ...]:
    return record.trials()


@pytest.fixture(params=["journal", "database"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path / 'record.db'}"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each trial was made a result of."""
    seen: Counter[int] = Counter()
    real = reading.trial_result

    def counted(trial: Any, *rest: Any) -> TrialResult:
        seen[trial.number] += 1
        return real(trial, *rest)

    monkeypatch.setattr(reading, "trial_result", counted)
    return seen


@pytest.mark.parametrize("read", [together, one_by_one])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_is_what_is_read(
    tmp_path: Path, write: Write, read: Callable[[StudyRecord], Any]
) -> None:
    record = a_study(tmp_path, None)
    before = read(record)

    write(record)

    after = read(record)
    assert after != before
    assert after == a_fresh_look(tmp_path)


def test_what_is_written_to_a_database_is_what_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    record = a_study(tmp_path, url)
    for name in sorted(WRITES, key="finish".__eq__):  # the end of a trial is its last write
        WRITES[name](record)
        read = together(record), one_by_one(record)
        fresh = a_fresh_look(tmp_path, url)
        assert read == (fresh, fresh), name


def test_what_is_written_again_is_read_again(tmp_path: Path, storage: str | None) -> None:
    record = a_study(tmp_path, storage)
    for number in (ENDED, OPEN):
        for run_id in ("first", "second"):
            record.set_run_id(number, run_id)
            assert record.trial(number).mlflow_run_id == run_id
    for rung in (1, None, 1):
        record.waits(OPEN, rung)
        assert record.trials()[OPEN].waits_at == rung


def test_an_outcome_that_is_told_later_closes_its_trial(
    tmp_path: Path, storage: str | None
) -> None:
    record = a_study(tmp_path, storage)
    record._set(OPEN, "outcome", outcome().to_json())
    assert not record.trial(OPEN).closed

    record.interrupted()

    assert record.trials()[OPEN].closed
    assert record.trial(OPEN).closed


@pytest.mark.parametrize("arrives", [False, True], ids=["nothing of it there", "it is there"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_of_a_write_that_fails_half_way_what_got_there_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, arrives: bool
) -> None:
    append = JournalFileBackend.append_logs
    for fails_at in count():
        folder = tmp_path / str(fails_at)
        folder.mkdir()
        record = a_study(folder, None)
        lines = count()

        def fail(self: Any, logs: Any, at: int = fails_at, lines: Any = lines) -> None:
            fails = next(lines) == at
            if arrives or not fails:
                append(self, logs)
            if fails:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", fail)
            try:
                write(record)
            except OSError:
                ended = False
            else:
                ended = True
        fresh = StudyRecord(folder, "study", None)
        assert record.trials() == fresh.trials()
        assert one_by_one(record) == fresh.trials()
        for architecture in ("small", "large", "left"):
            assert record.known_student(architecture) == fresh.known_student(architecture)
        if ended:
            return


def test_a_write_to_a_database_that_fails_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = a_study(tmp_path, f"sqlite:///{tmp_path / 'record.db'}")
    before = record.trials()

    def gone(*asked: Any, **options: Any) -> None:
        raise OSError("the database is gone")

    with monkeypatch.context() as patch:
        for name in ("set_trial_user_attr", "set_study_user_attr", "create_new_trial"):
            patch.setattr(type(record._storage), name, gone)
        for write in WRITES.values():
            with pytest.raises(OSError, match="gone"):
                write(record)

    assert record.trials() == before
    assert one_by_one(record) == before
    assert record.known_student("left") is None
    assert record.known_student("large") is None


def test_what_another_process_writes_to_open_trials_is_read(
    tmp_path: Path, storage: str | None
) -> None:
    record = a_study(tmp_path, storage)
    another = StudyRecord(tmp_path, "study", storage)
    another.epoch(OPEN, epoch(2))
    assert record.trial(OPEN).epochs_done == 2
    another.finish(OPEN, outcome())
    another.measured(UNMEASURED, SIZE, latency())
    assert record.trials() == another.trials()


def test_no_trial_is_parsed_again_unless_it_was_written_to(
    tmp_path: Path, storage: str | None, parsed: Counter[int]
) -> None:
    record = a_study(tmp_path, storage)
    for _ in range(5):
        add(record, "large")
    record.trials()
    parsed.clear()

    for _ in range(3):
        record.trials()
        one_by_one(record)
    assert parsed == {}

    record.epoch(OPEN, epoch(2))
    record.waits(4, 1)
    record.trials()
    record.trials()
    assert parsed == {OPEN: 1, 4: 1}

    parsed.clear()
    record.set_run_id(5, "run")
    record.timed("small", latency(4.0))
    record.set_attribute("search", {"of": "no trial"})
    record.trials()
    record.trials()
    assert parsed == {OPEN: 1, ENDED: 1, 5: 1}
