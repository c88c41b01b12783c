"""A study is closed in MLflow as the record has it, whatever an earlier session left there."""

import shutil
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.front import front_members
from analysis.record import read_record
from analysis.results import TrialResult
from analysis.stored_plan import read_plan
from study.exporting.programs import program_file
from study.record import StudyRecord
from study.tracking.facts import trial_facts
from study.tracking.models import StudentModel
from study.tracking.session import close_study, open_study
from study.tracking.synchronise import replay
from study.tracking.tracker import Tracker, default_tracking_uri


@pytest.fixture
def folder(sample: SimpleNamespace, tmp_path: Path, empty_database: Path) -> Path:
    """A study that was interrupted: a front of six, two that wait; nothing is confirmed."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    waiting = {"accuracy": 50.0, "ratio": 3.0, "epochs": 2, "status": None, "done": 1}
    return written(sample, tmp_path / "pareto-demo", waiting, waiting)


def written(sample: SimpleNamespace, folder: Path, *more: dict[str, Any]) -> Path:
    """The record of a front of six, the fastest first, and of more trials."""
    front = [{"accuracy": 60.0 + n, "ratio": 9.0 - n, "epochs": 2, "seed": n} for n in range(6)]
    trials = [sample.trial(sample.params(), **values) for values in (*front, *more)]
    sample.write_record(folder, trials, plan_content=sample.plan(max_epochs=2))
    return folder


@pytest.fixture
def client(folder: Path) -> MlflowClient:
    return MlflowClient(default_tracking_uri(folder.parent))


def trials_of(client: MlflowClient) -> dict[int, Run]:
    experiment = client.get_experiment_by_name("cifar_blocks")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    return {int(run.data.tags["trial"]): run for run in runs}


def marked(client: MlflowClient) -> set[int]:
    return {n for n, run in trials_of(client).items() if run.data.tags.get("front") == "yes"}


def session(folder: Path) -> tuple[StudyRecord, Tracker]:
    """A driver that has gone as far as to replay the record."""
    record = StudyRecord(folder, folder.name, None)
    tracker = open_study(
        record, read_plan(folder / "plan.json"), default_tracking_uri(folder.parent), pytest.fail
    )
    replay(record, tracker, pytest.fail)
    return record, tracker


def closed(record: StudyRecord, tracker: Tracker, ending: str) -> None:
    close_study(record, read_plan(record.folder / "plan.json"), tracker, ending, [])
    assert tracker.close(60).undelivered == 0


# The front


def test_whom_a_larger_study_has_left_behind_is_not_on_the_front_though_never_confirmed(
    folder: Path, client: MlflowClient, sample: SimpleNamespace
) -> None:
    closed(*session(folder), "SIGINT")
    assert marked(client) == set(range(6))
    shutil.rmtree(folder)
    written(sample, folder, {"accuracy": 75.0, "ratio": 6.5, "epochs": 2})

    closed(*session(folder), "complete")

    members = {trial.number for trial in front_members(read_record(folder).trials)}
    assert marked(client) == members == {0, 1, 2, 6}


def test_a_mark_that_is_not_there_costs_no_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(*session(folder), "SIGINT")
    asked: Counter[str] = Counter()
    for name in ("delete_tag", "log_batch", "get_run", "set_terminated"):
        plain = getattr(MlflowClient, name)

        def counted(self: Any, *args: Any, _name: str = name, _plain: Any = plain) -> Any:
            asked[_name] += 1
            return _plain(self, *args)

        monkeypatch.setattr(MlflowClient, name, counted)
    monkeypatch.setattr("study.tracking.session.front_of", lambda record: record.trials()[:3])

    closed(*session(folder), "SIGINT")
    assert asked["delete_tag"] == 2 * 3  # of each who left, the mark and what told of it
    asked.clear()
    closed(*session(folder), "SIGINT")
    assert asked["delete_tag"] == 0


# Trials without an end


def test_trials_that_nobody_has_gone_on_with_are_closed_with_their_study(
    folder: Path, client: MlflowClient
) -> None:
    record, killed = session(folder)
    for number in (6, 7):
        start(killed, record.trial(number))
    assert killed.wait(60).undelivered == 0
    assert trials_of(client)[7].info.status == "RUNNING"

    record, resumed = session(folder)
    start(resumed, record.trial(6))  # and the other one's turn does not come
    begun = time.time()
    closed(record, resumed, "SIGINT")

    runs = trials_of(client)
    for number, reason in {6: "the study ended: SIGINT", 7: "the study was stopped"}.items():
        tags = runs[number].data.tags
        assert (runs[number].info.status, tags["outcome"]) == ("KILLED", "interrupted")
        assert tags["reason"] == reason
        curve = client.get_metric_history(runs[number].info.run_id, "val_score")
        assert [point.step for point in curve] == [1]
    assert runs[6].info.end_time / 1000 >= begun  # by the clock, and not by its record
    (study,) = client.search_runs([runs[6].info.experiment_id], "tags.kind = 'study'")
    assert study.info.status == "KILLED"


def start(tracker: Tracker, trial: TrialResult) -> None:
    facts = trial_facts(trial)
    tracker.trial_started(trial.number, facts.name, facts.params, facts.tags)
    for epoch in trial.curve:
        tracker.epoch(trial.number, epoch.to_json())


def test_a_trial_of_this_session_that_the_record_holds_open_is_not_told_of_twice(
    folder: Path, client: MlflowClient
) -> None:
    record, tracker = session(folder)
    start(tracker, record.trial(7))
    tracker.trial_finished(7, "interrupted", "the study was stopped", {})
    begun = time.time()

    closed(record, tracker, "SIGINT")

    run = trials_of(client)[7]
    assert run.data.tags["reason"] == "the study was stopped"
    assert abs(run.info.end_time / 1000 - begun) < 60


# What it is told of, in which order


def test_a_study_is_closed_before_the_models_of_its_front_are_sent(folder: Path) -> None:
    heard: list[str] = []

    class Heard(Tracker):
        def study_finished(self, status: str, *_: Any, **__: Any) -> None:
            heard.append(status)

        def trial_replayed(self, trial: TrialResult) -> None:
            heard.append(f"{trial.number} {trial.status}")

        def trial_on_front(
            self, number: int, on_front: bool, model: StudentModel | None = None, **_: Any
        ) -> None:
            heard.append(f"{number} {on_front} {model is not None}")

    program = program_file(folder, 2)
    program.parent.mkdir()
    program.write_bytes(b"program")

    record = StudyRecord(folder, folder.name, None)
    close_study(record, read_plan(folder / "plan.json"), Heard(), "complete", [])

    front = [f"{number} True {number == 2}" for number in range(6)]
    assert heard == ["complete", *front, "6 running", "7 running"]
