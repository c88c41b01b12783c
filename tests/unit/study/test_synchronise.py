"""MLflow is brought to what the record says, whatever it lacked, and nothing in it is doubled."""

import io
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from requests import HTTPError, Response

from analysis.front import front_hypervolume, front_members
from analysis.illustration import ILLUSTRATIONS_FOLDER
from analysis.record import read_record
from analysis.results import Session, TrialResult
from analysis.stored_plan import read_plan
from study.__main__ import main
from study.distillation.teacher_recipe import DESCRIPTION_FILE
from study.lock import StudyLock
from study.progress import Progress
from study.record import StudyRecord
from study.tracking.facts import final_metrics, trial_facts
from study.tracking.notes import front_note
from study.tracking.session import open_study
from study.tracking.synchronise import last_ending, replay, sessions_of, synchronise
from study.tracking.tracker import Tracker, default_tracking_uri
from study.trial_context import STUDENT_FILE, trial_folder

CURVES = {"val_score": "val_score", "train_loss": "train_loss", "seconds": "epoch_seconds"}
STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "infeasible": "FAILED", "failed": "FAILED"}
EPOCHS = 4


@pytest.fixture
def folder(sample: SimpleNamespace, tmp_path: Path, empty_database: Path) -> Path:
    """A study of 14 trials of every fate, the last one interrupted; MLflow knows nothing of it."""
    trials = sample.sampled_trials(13, epochs=EPOCHS, seed=1)
    trials += [
        sample.trial(sample.params(), accuracy=70.0, ratio=3.0, status=None, epochs=EPOCHS, done=2)
    ]
    sample.confirm_front(trials)
    assert {item["status"] for item in trials} == {*STATUS, None}
    folder: Path = sample.write_record(
        tmp_path / "pareto-demo", trials, plan_content=sample.plan(max_epochs=EPOCHS)
    )
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    member = front_members(read_record(folder).trials)[0]
    (trial_folder(folder, member.number) / STUDENT_FILE).parent.mkdir(parents=True)
    (trial_folder(folder, member.number) / STUDENT_FILE).write_bytes(b"weights")
    return folder


@pytest.fixture
def client(folder: Path) -> MlflowClient:
    return MlflowClient(default_tracking_uri(folder.parent))


def record_of(folder: Path) -> StudyRecord:
    return StudyRecord(folder, folder.name, None)


def quiet() -> Progress:
    return Progress(io.StringIO())


def runs_of(client: MlflowClient, kind: str) -> dict[str, Run]:
    """All runs of a kind by trial number (or name); a second one of the same would be noticed."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.kind = '{kind}'")
    named = {run.data.tags.get("trial", run.info.run_name): run for run in runs}
    assert len(named) == len(runs)
    return named


def history(client: MlflowClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run_id, metric))


def dump(client: MlflowClient) -> str:
    """Everything MLflow holds: runs, their tags and parameters, every point, every file's size."""
    experiments = client.search_experiments()
    found = []
    for run in client.search_runs([experiment.experiment_id for experiment in experiments]):
        points = {
            metric: sorted(
                (m.step, m.timestamp, m.value)
                for m in client.get_metric_history(run.info.run_id, metric)
            )
            for metric in run.data.metrics
        }
        files = [
            (file.path, file.file_size)
            for folder in client.list_artifacts(run.info.run_id)
            for file in client.list_artifacts(run.info.run_id, folder.path)
        ]
        found.append((dict(run.info), run.data.params, run.data.tags, points, files))
    return json.dumps([[dict(e) for e in experiments], found], default=str, indent=1)


def milliseconds(date: str) -> int:
    return round(datetime.fromisoformat(date).timestamp() * 1000)


def assert_shown(client: MlflowClient, trial: TrialResult, run: Run) -> None:
    """A trial's run is what the record says, each point of it once."""
    is_open = trial.status == "running"
    assert run.info.run_name == trial_facts(trial).name
    assert run.info.status == ("KILLED" if is_open else STATUS[trial.status])
    assert run.data.params == {name: str(value) for name, value in trial.params.items()}
    tags = run.data.tags
    assert tags["outcome"] == ("interrupted" if is_open else trial.status)
    assert tags.get("reason") == ("the study was stopped" if is_open else trial.reason)
    assert ("mlflow.note.content" in tags) == ("reason" in tags or "front" in tags)
    assert tags.get("confirmed") == ("true" if trial.confirmed else None)
    assert tags["architecture"] == trial.architecture
    for field, metric in CURVES.items():
        told = [(epoch.epoch, getattr(epoch, field)) for epoch in trial.curve]
        assert history(client, run.info.run_id, metric) == told
    finals = {} if is_open else final_metrics(trial)
    shown = {key: value for key, value in run.data.metrics.items() if key.startswith("final/")}
    assert shown == {f"final/{key}": value for key, value in finals.items()}


def assert_all_shown(client: MlflowClient, folder: Path) -> dict[str, Run]:
    """Every trial of a record is shown, below its study, and the record has all ids."""
    record = read_record(folder)
    (study,) = runs_of(client, "study").values()
    trials = runs_of(client, "trial")
    assert set(trials) == {str(trial.number) for trial in record.trials}
    for trial in record.trials:
        run = trials[str(trial.number)]
        assert_shown(client, trial, run)
        if "front" in run.data.tags:
            assert run.data.tags["mlflow.note.content"] == front_note(record.plan, trial)
        assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
        assert trial.mlflow_run_id == run.info.run_id
    assert record.mlflow is not None
    assert record.mlflow["run_id"] == study.info.run_id
    return trials


# The whole of a study that MLflow has never heard of


def test_a_study_that_mlflow_never_heard_of_is_shown_whole(
    folder: Path, client: MlflowClient
) -> None:
    (folder / ILLUSTRATIONS_FOLDER).mkdir()
    (folder / ILLUSTRATIONS_FOLDER / "saliency-0-0-ab12.png").write_bytes(b"a picture")

    report = synchronise(folder, None, quiet())

    record = read_record(folder)
    assert report.problem is None
    assert (report.trials, report.delivered) == (14, 14)
    assert_all_shown(client, folder)
    (study,) = runs_of(client, "study").values()
    assert study.info.run_name == "pareto-demo"
    assert (study.info.status, study.data.tags["outcome"]) == ("FINISHED", "complete")
    assert study.data.params["max_epochs"] == str(EPOCHS)
    assert study.data.tags["data"] == "cifar10"
    assert "Data: image folder cifar10." in study.data.tags["mlflow.note.content"]
    assert study.data.metrics["final/trials"] == 14.0
    assert study.data.metrics["final/front"] == len(front_members(record.trials))
    run_id = study.info.run_id
    files = {file.path for file in client.list_artifacts(run_id, "report")}
    assert files >= {"report/index.html", "report/results.csv", "report/illustrations"}
    charts = [file.path for file in client.list_artifacts(run_id, "report/figures")]
    assert charts == [f"report/figures/{name}.html" for name in ("curves", "front", "progress")]
    (picture,) = client.list_artifacts(run_id, "report/illustrations")
    assert picture.path == "report/illustrations/saliency-0-0-ab12.png"
    (student,) = client.list_artifacts(run_id, "students")
    assert student.path == f"students/{front_members(record.trials)[0].name}"
    (teacher,) = runs_of(client, "teacher").values()
    assert teacher.info.status == "FINISHED"
    assert teacher.data.metrics["final/val_score"] == 81.4
    told = teacher.data.tags["mlflow.note.content"]
    assert told.startswith("Teacher of students of `cifar_blocks` on cifar10: accuracy 81.40\xa0%")


def test_the_runs_are_dated_by_the_record_and_not_by_the_clock(
    folder: Path, client: MlflowClient
) -> None:
    synchronise(folder, None, quiet())

    plan, runs = read_plan(folder / "plan.json"), runs_of(client, "trial")
    (study,) = runs_of(client, "study").values()
    last = read_record(folder).sessions[-1]
    assert study.info.start_time == milliseconds(plan.created_at)
    assert study.info.end_time == milliseconds(last.started_at) + round(1000 * last.seconds)
    for trial in read_record(folder).trials:
        run = runs[str(trial.number)]
        assert run.info.start_time == milliseconds(str(trial.started_at))
        points = client.get_metric_history(run.info.run_id, "val_score")
        times = [point.timestamp for point in sorted(points, key=lambda point: point.step)]
        if trial.outcome is not None:
            assert run.info.end_time == milliseconds(trial.outcome.finished_at)
        if times:
            lengths = [b - a for a, b in zip([run.info.start_time, *times], times, strict=False)]
            share = (run.info.end_time - run.info.start_time) / trial.train_seconds
            assert times[-1] == run.info.end_time
            assert lengths == pytest.approx([e.seconds * share for e in trial.curve], abs=2)


def test_the_curve_of_the_study_is_that_of_its_front_as_trials_ended(
    folder: Path, client: MlflowClient
) -> None:
    synchronise(folder, None, quiet())

    record = read_record(folder)
    assert record.reference is not None
    ended = [replace(trial, confirmed=None) for trial in record.trials if trial.outcome]
    ended.sort(key=lambda trial: trial.outcome.finished_at if trial.outcome else "")
    (study,) = runs_of(client, "study").values()
    assert history(client, study.info.run_id, "hypervolume") == [
        (count, pytest.approx(front_hypervolume(ended[:count], record.reference)))
        for count in range(1, 14)
    ]


def test_twice_in_a_row_changes_nothing_in_mlflow_nor_in_the_record(
    folder: Path, client: MlflowClient
) -> None:
    synchronise(folder, None, quiet())
    before, record, lines = dump(client), read_record(folder), journal_lines(folder)

    report = synchronise(folder, None, quiet())

    assert report.problem is None
    assert dump(client) == before
    assert read_record(folder) == record
    assert journal_lines(folder) <= lines + 1  # Optuna notes that the study was opened


def test_students_that_are_there_are_not_sent_again(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise(folder, None, quiet())
    asked: Counter[str] = Counter()
    _count(monkeypatch, "log_artifact", asked)

    synchronise(folder, None, quiet())
    report = [path for path in (folder / "report").rglob("*") if path.is_file()]
    assert asked == {"log_artifact": len(report)}

    member = front_members(read_record(folder).trials)[0]
    (trial_folder(folder, member.number) / STUDENT_FILE).write_bytes(b"weights of another size")
    synchronise(folder, None, quiet())
    (study,) = runs_of(client, "study").values()
    (file,) = client.list_artifacts(study.info.run_id, f"students/{member.name}")
    assert file.file_size == len(b"weights of another size")


def test_a_report_that_mlflow_refuses_is_named_and_keeps_no_study_open(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large = Response()
    too_large.status_code = 413

    def refuse(*_: object) -> None:
        raise HTTPError("413 Client Error: Request Entity Too Large", response=too_large)

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    begun = time.monotonic()

    report = synchronise(folder, None, quiet())

    assert time.monotonic() - begun < 25  # it is not tried for the 30 s of an MLflow that is away
    assert report.problem == (
        f"MLflow at {default_tracking_uri(folder.parent)} refused an update: index.html: 413 "
        "Client Error: Request Entity Too Large; all else that the record has is there"
    )
    assert_all_shown(client, folder)
    (study,) = runs_of(client, "study").values()
    assert (study.info.status, study.data.tags["outcome"]) == ("FINISHED", "complete")
    assert study.data.metrics["final/trials"] == 14.0


def test_the_patience_is_that_between_two_files_and_not_that_for_all_of_them(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise(folder, None, quiet())  # the report and all else a first time
    send, sent = MlflowClient.log_artifact, []

    def slowly(self: MlflowClient, run_id: str, path: str, *more: Any) -> None:
        time.sleep(1.0)
        send(self, run_id, path, *more)
        sent.append(path)

    monkeypatch.setattr(MlflowClient, "log_artifact", slowly)

    report = synchronise(folder, None, quiet(), patience=4.0)

    assert len(sent) * 1.0 > 5.0
    assert report.problem is None


def test_passwords_in_a_plan_are_not_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}

    class Told(Tracker):
        def study_started(self, name: str, space: str, words: str, params: Any, *_: Any, **__: Any):
            told.update(params)

    monkeypatch.setattr("study.tracking.session.open_tracker", lambda *_: Told())
    plan = read_plan(folder / "plan.json")
    storage = {"storage": "postgresql://ann:secret@h/db", "tracking_uri": "http://h?pwd=secret"}
    open_study(record_of(folder), replace(plan, plan={**plan.plan, **storage}), "none", print)
    assert told["storage"] == "postgresql://ann:…@h/db"
    assert "secret" not in str(told)


def journal_lines(folder: Path) -> int:
    return len((folder / "journal.log").read_text().splitlines())


def test_runs_that_have_everything_cost_no_request_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise(folder, None, quiet())
    asked: Counter[str] = Counter()
    for name in ("get_run", "search_runs", "get_metric_history", "log_batch", "create_run",
                 "update_run", "set_terminated", "set_tag", "delete_tag"):  # fmt: skip
        _count(monkeypatch, name, asked)

    synchronise(folder, None, quiet())

    # The study's run by its id, and once more for its files; its teacher's by its tag, and all
    # trials at once; the study's curve.
    assert asked == {"get_run": 2, "search_runs": 2, "get_metric_history": 1}


def test_the_trials_of_a_large_study_are_listed_page_by_page(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise(folder, None, quiet())
    before = dump(client)
    monkeypatch.setattr("study.tracking.store.RUNS_A_PAGE", 5)
    asked: Counter[str] = Counter()
    _count(monkeypatch, "search_runs", asked)

    synchronise(folder, None, quiet())

    assert asked == {"search_runs": 1 + 3}
    assert dump(client) == before


def _count(monkeypatch: pytest.MonkeyPatch, name: str, asked: Counter[str]) -> None:
    original = getattr(MlflowClient, name)

    def counted(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        asked[name] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, name, counted)


def test_a_kept_teacher_is_shown_with_its_curve_and_recipe(
    folder: Path, client: MlflowClient
) -> None:
    kept = folder.parent / "teachers" / "6f1d0c2b9a8e7d65" / DESCRIPTION_FILE
    kept.parent.mkdir(parents=True)
    epoch = {"train_loss": 1.0, "val_loss": 1.0, "learning_rate": 0.1, "seconds": 60.0}
    curve = [{"epoch": n, "val_score": 70.0 + n, **epoch} for n in (1, 2, 3)]
    kept.write_text(json.dumps({"recipe": {"depths": [3, 4, 6, 3]}, "curve": curve}))

    synchronise(folder, None, quiet())

    (teacher,) = runs_of(client, "teacher").values()
    assert teacher.data.params == {"depths": "[3, 4, 6, 3]", "key": "6f1d0c2b9a8e7d65"}
    assert history(client, teacher.info.run_id, "val_score") == [(1, 71), (2, 72), (3, 73)]
    assert teacher.info.end_time == pytest.approx(kept.stat().st_mtime * 1000, abs=1)
    assert teacher.info.end_time - teacher.info.start_time == 180_000


def test_a_teacher_that_was_shown_without_its_curve_gets_it_once_it_is_at_hand(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise(folder, None, quiet())  # where its description is not
    (before,) = runs_of(client, "teacher").values()
    kept = folder.parent / "teachers" / "6f1d0c2b9a8e7d65" / DESCRIPTION_FILE
    kept.parent.mkdir(parents=True)
    epoch = {"train_loss": 1.0, "val_loss": 1.0, "learning_rate": 0.1, "seconds": 60.0}
    curve = [{"epoch": n, "val_score": 70.0 + n, **epoch} for n in range(1, 301)]
    kept.write_text(json.dumps({"recipe": {"depths": [3, 4, 6, 3], "epochs": 7}, "curve": curve}))
    log_batch, lost = MlflowClient.log_batch, []

    def lose_the_second(self: MlflowClient, run_id: str, points: Any, *more: Any) -> None:
        if run_id == before.info.run_id:
            lost.append(points)
            if len(lost) == 2:
                raise ConnectionError("connection reset")
        log_batch(self, run_id, points, *more)

    monkeypatch.setattr(MlflowClient, "log_batch", lose_the_second)
    assert synchronise(folder, None, quiet()).problem is None

    (teacher,) = runs_of(client, "teacher").values()
    told = [(n, 70.0 + n) for n in range(1, 301)]
    assert len(lost) == 3
    assert history(client, teacher.info.run_id, "val_score") == told
    finals = {key: value for key, value in teacher.data.metrics.items() if "final/" in key}
    assert finals == before.data.metrics
    assert teacher.data.params == before.data.params | {"depths": "[3, 4, 6, 3]"}
    assert teacher.data.tags == before.data.tags
    assert teacher.info.end_time == before.info.end_time

    lost.clear()
    assert synchronise(folder, None, quiet()).problem is None
    assert lost == []


def test_a_kept_teacher_that_is_damaged_is_shown_without_its_curve(
    folder: Path, client: MlflowClient
) -> None:
    kept = folder.parent / "teachers" / "6f1d0c2b9a8e7d65" / DESCRIPTION_FILE
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"recipe": {}, "curve": [1, 2]}))

    assert synchronise(folder, None, quiet()).problem is None

    (teacher,) = runs_of(client, "teacher").values()
    assert "val_score" not in teacher.data.metrics
    assert teacher.data.params["epochs"] == "30"


# What a killed driver left


@pytest.mark.parametrize("ids_were_kept", [True, False], ids=["ids kept", "ids lost"])
def test_what_a_killed_driver_did_not_deliver_arrives_in_the_same_runs(
    folder: Path, client: MlflowClient, ids_were_kept: bool
) -> None:
    record = record_of(folder)
    trials = record.trials()
    before = {} if ids_were_kept else (folder / "journal.log").read_bytes()
    tracker = told_in_part(record, trials)
    assert tracker.wait(30).undelivered == 0
    known = {number: run.info.run_id for number, run in runs_of(client, "trial").items()}
    (study,) = runs_of(client, "study").values()
    assert study.info.status == "RUNNING"
    assert len(known) == len(trials) - 1
    if isinstance(before, bytes):
        (folder / "journal.log").write_bytes(before)

    assert synchronise(folder, None, quiet()).problem is None

    shown = assert_all_shown(client, folder)
    assert known.items() <= {number: run.info.run_id for number, run in shown.items()}.items()
    assert runs_of(client, "study")["pareto-demo"].info.run_id == study.info.run_id
    points = history(client, study.info.run_id, "hypervolume")
    assert [step for step, _ in points] == list(range(1, 14))
    assert points[4] == (5, 0.5)  # what was there stays as it is


def told_in_part(record: StudyRecord, trials: Sequence[TrialResult]) -> Tracker:
    """What a driver told before it was killed: each trial gets less far than the record has it."""
    plan = read_plan(record.folder / "plan.json")
    tracker = open_study(record, plan, default_tracking_uri(record.folder.parent), print)
    for trial in trials[1:]:
        facts = trial_facts(trial)
        tracker.trial_started(trial.number, facts.name, facts.params, facts.tags)
        reach = trial.number % 4
        for epoch in trial.curve[: 1 if reach == 0 else None]:
            tracker.epoch(trial.number, epoch.to_json())
        if reach == 2:  # interrupted, gone on with, and the rest of it lost
            tracker.trial_finished(trial.number, "interrupted", "the study was stopped", {})
        if reach == 3:  # all but its confirmation, or that told before its latency was
            finals = final_metrics(trial) | {"latency_ms": 1.0}
            tracker.trial_finished(trial.number, trial.status, trial.reason, finals)
    tracker.study_progress(5, {"hypervolume": 0.5})
    return tracker


def test_a_figure_that_the_record_corrects_is_the_latest_in_mlflow(
    folder: Path, client: MlflowClient
) -> None:
    record = record_of(folder)
    confirmed = next(trial for trial in record.trials() if trial.confirmed)
    plan = read_plan(folder / "plan.json")
    tracker = open_study(record, plan, default_tracking_uri(folder.parent), print)
    facts = trial_facts(confirmed)
    tracker.trial_started(confirmed.number, facts.name, facts.params, facts.tags)
    tracker.trial_finished(confirmed.number, "complete", None, {"latency_ms": 999.0})
    assert tracker.wait(30).undelivered == 0

    synchronise(folder, None, quiet())
    synchronise(folder, None, quiet())

    run = runs_of(client, "trial")[str(confirmed.number)]
    assert run.data.metrics["final/latency_ms"] == confirmed.latency_ms
    assert len(history(client, run.info.run_id, "final/latency_ms")) == 2


def test_an_epoch_that_a_closed_run_lacks_is_filled_in(folder: Path, client: MlflowClient) -> None:
    record = record_of(folder)
    first, second = [trial for trial in record.trials() if trial.status == "complete"][:2]
    plan = read_plan(folder / "plan.json")
    tracker = open_study(record, plan, default_tracking_uri(folder.parent), print)
    for trial, told in ((first, first.curve[:-1]), (second, second.curve[::2])):
        facts = trial_facts(trial)
        tracker.trial_started(trial.number, facts.name, facts.params, facts.tags)
        for epoch in told:
            tracker.epoch(trial.number, epoch.to_json())
        tracker.trial_finished(trial.number, "complete", None, final_metrics(trial))
    assert tracker.wait(30).undelivered == 0

    synchronise(folder, None, quiet())

    assert_all_shown(client, folder)


def test_runs_that_were_deleted_are_made_again(folder: Path, client: MlflowClient) -> None:
    synchronise(folder, None, quiet())
    old = {run.info.run_id for run in runs_of(client, "trial").values()}
    for run in [*runs_of(client, "trial").values(), *runs_of(client, "study").values()]:
        client.delete_run(run.info.run_id)

    report = synchronise(folder, None, quiet())

    assert (report.delivered, report.problem) == (14, None)
    new = {run.info.run_id for run in assert_all_shown(client, folder).values()}
    assert not old & new


def test_trials_whose_study_lost_its_run_are_put_below_the_new_one(
    folder: Path, client: MlflowClient
) -> None:
    synchronise(folder, None, quiet())
    trials = {number: run.info.run_id for number, run in runs_of(client, "trial").items()}
    (study,) = runs_of(client, "study").values()
    client.delete_run(study.info.run_id)

    synchronise(folder, None, quiet())

    shown = assert_all_shown(client, folder)
    assert {number: run.info.run_id for number, run in shown.items()} == trials


def test_run_ids_of_another_mlflow_are_not_used(folder: Path, client: MlflowClient) -> None:
    experiment = client.create_experiment("somebody else's")
    other = client.create_run(experiment, run_name="not ours").info.run_id
    record = record_of(folder)
    about = {"tracking_uri": "http://elsewhere:5000", "experiment_id": "1", "run_id": other}
    record.set_attribute("mlflow", about)
    for trial in record.trials():
        record.set_run_id(trial.number, other)
    before = dict(client.get_run(other).data.tags)

    report = synchronise(folder, None, quiet())

    assert report.problem is None
    assert_all_shown(client, folder)
    assert client.get_run(other).data.tags == before
    assert client.get_run(other).data.metrics == {}


# At the start of a resumed session


def test_a_resumed_session_replays_what_has_ended_and_leaves_the_rest_to_be_told(
    folder: Path, client: MlflowClient
) -> None:
    record = record_of(folder)
    tracker = told_in_part(record, record.trials()[:9])
    assert tracker.wait(30).undelivered == 0

    plan = read_plan(folder / "plan.json")
    resumed = open_study(record, plan, default_tracking_uri(folder.parent), print)
    replay(record, resumed, print)
    interrupted = record.trial(13)
    facts = trial_facts(interrupted)
    resumed.trial_started(13, facts.name, facts.params, facts.tags)
    for epoch in interrupted.curve:
        resumed.epoch(13, epoch.to_json())
    assert resumed.wait(30).undelivered == 0

    runs = runs_of(client, "trial")
    for trial in record.trials()[:13]:
        assert_shown(client, trial, runs[str(trial.number)])
    assert (runs["13"].info.status, runs["13"].data.tags["outcome"]) == ("RUNNING", "running")
    (study,) = runs_of(client, "study").values()
    assert study.info.status == "RUNNING"
    assert resumed.close(30).undelivered == 0


def test_only_what_has_ended_is_replayed_while_a_driver_is_at_work(folder: Path) -> None:
    heard: list[int] = []

    class Heard(Tracker):
        def trial_replayed(self, trial: TrialResult) -> None:
            heard.append(trial.number)

    replay(record_of(folder), Heard(), print)
    assert heard == list(range(13))
    replay(record_of(folder), Heard(), print, also_open=True)
    assert heard[13:] == list(range(14))


def test_replaying_a_thousand_trials_returns_at_once_though_mlflow_is_away(
    sample: SimpleNamespace, tmp_path: Path, free_port: int
) -> None:
    trials = sample.sampled_trials(1000, epochs=10)
    folder = sample.write_record(tmp_path / "pareto-demo", trials)
    record, plan = record_of(folder), read_plan(folder / "plan.json")
    record.trials()  # read by every session before it begins
    tracker = open_study(record, plan, f"http://127.0.0.1:{free_port}", lambda text: None)

    begun = time.perf_counter()
    replay(record, tracker, print)
    took = time.perf_counter() - begun

    assert took < 10.0  # it is tried for 30 s where it is waited for
    assert tracker.wait(0.1).undelivered == 1002


def test_a_record_that_cannot_be_replayed_stops_nothing(folder: Path) -> None:
    record = record_of(folder)
    record.set_attribute("confirmed:0000", {"test_score": "high"})
    warnings: list[str] = []

    replay(record_of(folder), Tracker(), warnings.append)

    (warning,) = warnings
    assert "test_score" in warning


# The verb


def sync(folder: Path, *arguments: str) -> int:
    return main(["sync", folder.name, "--studies", str(folder.parent), *arguments])


def test_the_verb_says_what_it_did_in_words_or_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync(folder) == 0
    words = capsys.readouterr()
    assert sync(folder, "--json") == 0
    body = json.loads(capsys.readouterr().out)

    assert "14 trials are in MLflow" in words.out
    assert "mlflow ui --backend-store-uri" in words.out
    assert words.err == ""
    assert (body["study"], body["trials"], body["delivered"]) == ("pareto-demo", 14, 14)
    assert body["tracking_uri"] == default_tracking_uri(folder.parent)
    assert (body["ended"], body["problem"]) == ("complete", None)
    mlflow = read_record(folder).mlflow
    assert mlflow is not None
    assert (body["run_id"], body["experiment_id"]) == (mlflow["run_id"], mlflow["experiment_id"])


def test_an_mlflow_out_of_reach_is_named_with_what_it_lacks(
    folder: Path, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    record = read_record(folder)

    assert sync(folder, "--tracking-uri", uri, "--timeout", "5") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: MLflow at {uri} does not answer: Connection refused; not delivered: the study's "
        "run, the teacher, 14 of 14 trials, the end of the study with its report; give the same "
        "command again to finish"
    )
    assert read_record(folder) == record


def test_an_experiment_that_was_deleted_is_named_at_once_with_the_mend(
    folder: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = client.create_experiment("cifar_blocks")
    client.delete_experiment(experiment)
    begun = time.monotonic()

    assert sync(folder) == 1

    assert time.monotonic() - begun < 15
    (line,) = capsys.readouterr().err.splitlines()
    assert f"mlflow experiments restore --experiment-id {experiment}" in line


@pytest.mark.parametrize(
    ("planned", "arguments", "words"),
    [
        (None, ["--tracking-uri", "none"], "nothing to bring up to date"),
        ("none", [], "--tracking-uri sqlite:///"),
        (None, ["--tracking-uri", "htp://host"], "did you mean 'http'"),
        (None, ["--timeout", "0"], "--timeout 0 is not above 0"),
        ("copied", [], "holds the study pareto-demo"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line_and_writes_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    planned: str | None,
    arguments: list[str],
    words: str,
) -> None:
    document = json.loads((folder / "plan.json").read_text())
    if planned == "copied":
        folder = Path(shutil.copytree(folder, folder.with_name("copy")))
    else:
        document["plan"]["tracking_uri"] = planned
        (folder / "plan.json").write_text(json.dumps(document))
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}

    assert sync(folder, *arguments) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


def test_a_study_with_a_live_driver_is_left_to_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StudyLock(folder):
        assert sync(folder) == 4
    assert "is driven by" in capsys.readouterr().err


def test_a_study_planned_without_tracking_can_be_shown_where_asked(
    folder: Path, client: MlflowClient
) -> None:
    document = json.loads((folder / "plan.json").read_text())
    document["plan"]["tracking_uri"] = "none"
    (folder / "plan.json").write_text(json.dumps(document))

    assert sync(folder, "--tracking-uri", default_tracking_uri(folder.parent)) == 0

    assert_all_shown(client, folder)


def test_a_relative_database_is_looked_for_where_the_study_was_started(
    folder: Path, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((folder / "plan.json").read_text())
    document["directory"] = str(tmp_path)
    document["plan"]["tracking_uri"] = "sqlite:///mlflow.db"
    (folder / "plan.json").write_text(json.dumps(document))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert sync(folder) == 0

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert_all_shown(client, folder)


def test_a_space_of_ones_own_is_looked_for_where_the_study_was_started(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = tmp_path / "started"
    started.mkdir()
    (started / "own_blocks.py").write_text("from own_parts import SPACE as SPACE\n")
    (started / "own_parts.py").write_text("from search_spaces.cifar_blocks import SPACE as SPACE\n")
    document = json.loads((folder / "plan.json").read_text())
    document["directory"] = str(started)
    document["plan"]["device_hours"] = None
    document["plan"]["space"] = "own_blocks.py"
    document["data"]["mean"] = document["data"]["std"] = [0.5, 0.5, 0.5]
    (folder / "plan.json").write_text(json.dumps(document))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)

    assert main(["sync", folder.name, "--studies", "."]) == 0

    # The front's student is of made-up bytes: it is its file that is found fault with.
    told = "".join(capsys.readouterr())
    assert "no MLflow models:" not in told
    assert "1 of 1 students are no MLflow models yet" in told


def test_progress_is_shown_once_it_takes_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create: Callable[..., Run] = MlflowClient.create_run

    def slowly(*args: Any, **kwargs: Any) -> Run:
        threading.Event().wait(0.25)
        return create(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", slowly)
    shown = io.StringIO()

    synchronise(folder, None, Progress(shown))

    assert "14/14\n" in shown.getvalue()


# How a study ended


TEN = "2025-01-01T10:00:00+00:00"
LAST = "2025-01-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("started", "sessions", "expected"),
    [
        (None, [], ("interrupted", None)),
        (LAST, [], ("interrupted", LAST)),
        (TEN, [Session(TEN, 60.0, "SIGINT")], ("SIGINT", "2025-01-01T10:01:00+00:00")),
        (LAST, [Session(TEN, 60.0, "killed")], ("killed", LAST)),
        (TEN, [Session(TEN, 60.0, "killed")], ("killed", "2025-01-01T10:01:00+00:00")),
        # Of a session that did not live to say that it had begun.
        (LAST, [Session(TEN, 60.0, "complete")], ("interrupted", LAST)),
    ],
)
def test_the_end_of_a_study_is_that_of_its_last_session_killed_or_not(
    started: str | None, sessions: list[Session], expected: tuple[str, str | None]
) -> None:
    trials = [TrialResult(0, "sampler", None, {}, "a", 1, started_at=started)] if started else []
    assert last_ending(sessions, trials) == expected


def test_a_session_that_was_killed_is_the_last_one_unless_it_was_closed_after_all(
    folder: Path,
) -> None:
    record = record_of(folder)
    closed = sessions_of(record)
    record.set_attribute("open_session", replace(closed[-1], end="killed").to_json())
    assert sessions_of(record) == closed
    killed = Session("2030-01-01T00:00:00+00:00", 5.0, "killed")
    record.set_attribute("open_session", killed.to_json())
    assert sessions_of(record) == [*closed, killed]


def test_a_study_whose_driver_was_killed_is_closed_as_such(
    folder: Path, client: MlflowClient
) -> None:
    killed = Session("2025-03-04T15:00:00+00:00", 5.0, "killed")
    record_of(folder).set_attribute("open_session", killed.to_json())

    synchronise(folder, None, quiet())

    (study,) = runs_of(client, "study").values()
    assert (study.info.status, study.data.tags["outcome"]) == ("KILLED", "killed")
    assert study.info.end_time == milliseconds(killed.started_at) + 5000
