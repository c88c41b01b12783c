"""Whole studies from the command line: real Ray, Optuna, MLflow, torch and digits."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from launching import BRIEF, Launched, Launcher

from analysis.record import StudyResults, read_record

pytestmark = pytest.mark.end_to_end


def read(run: Launched, name: str = "small") -> StudyResults:
    return read_record(run.studies / name)


def test_a_study_ends_with_a_front_of_fully_trained_students(finished: Launched) -> None:
    result = finished.result

    assert sum(result["counts"].values()) == 6
    assert result["counts"]["running"] == 0
    assert result["front"]
    assert all(member["epochs"] == 3 for member in result["front"])
    latencies = [member["latency_ms"] for member in result["front"]]
    accuracies = [member["val_score"] for member in result["front"]]
    assert latencies == sorted(latencies)
    assert accuracies == sorted(accuracies)
    assert all(member["test_score"] > 0 for member in result["front"])
    assert 0 <= result["hypervolume"] <= 1
    assert Path(result["report"]).is_file()
    assert finished.stdout.count("\n") == 1


def test_the_default_and_its_control_are_tried_first_and_trained_to_the_end(
    finished: Launched,
    launcher: Launcher,
) -> None:
    default, control = read(finished).trials[:2]

    assert default.label == "default"
    assert control.source == "control"
    assert control.params["terms"] == "ce"
    assert default.architecture == control.architecture
    assert default.status == control.status == "complete"
    assert default.latency == control.latency


def test_record_mlflow_and_report_agree_on_every_trial(finished: Launched) -> None:
    from mlflow import MlflowClient

    record = read(finished)
    client = MlflowClient(f"sqlite:///{finished.studies / 'mlflow.db'}")
    assert record.mlflow is not None
    runs = client.search_runs(
        [str(record.mlflow["experiment_id"])],
        f"tags.`mlflow.parentRunId` = '{record.mlflow['run_id']}'",
    )
    by_id = {run.info.run_id: run for run in runs}
    with (finished.studies / "small" / "report" / "results.csv").open() as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}

    assert len(by_id) == len(rows) == len(record.trials) == 6
    for trial in record.trials:
        assert trial.mlflow_run_id is not None
        run, row = by_id[trial.mlflow_run_id], rows[trial.name]
        assert run.info.status in ("FINISHED", "FAILED")
        assert run.info.end_time is not None
        assert run.data.tags["outcome"] == row["status"] == trial.status
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
        metrics = run.data.metrics
        assert metrics["final/val_score"] == trial.val_score
        assert metrics["final/latency_ms"] == trial.latency_ms
        assert metrics["final/epochs_done"] == trial.epochs_done == int(row["epochs_done"])
        assert math.isclose(float(row["val_score"]), trial.val_score or 0, abs_tol=0.005)
        history = client.get_metric_history(run.info.run_id, "val_score")
        curve = sorted((point.step, point.value) for point in history)
        assert curve == [(epoch.epoch, epoch.val_score) for epoch in trial.curve]
    study_run = client.get_run(record.mlflow["run_id"])
    assert study_run.info.status == "FINISHED"
    names = {item.path for item in client.list_artifacts(study_run.info.run_id, "report")}
    assert "report/index.html" in names
    charts = client.list_artifacts(study_run.info.run_id, "report/figures")
    assert {Path(item.path).stem for item in charts} == {"front", "curves", "progress"}
    (maps,) = record.illustrations
    pictures = client.list_artifacts(study_run.info.run_id, "report/illustrations")
    assert {Path(item.path).name for item in pictures} == set(maps.files)


def test_where_the_time_went_adds_up_to_all_of_it(finished: Launched) -> None:
    record, told = read(finished), finished.result["time"]

    for trial in record.trials:
        assert trial.usage.phases is not None
        # Of one CPU each: from when the driver hears of the worker until it hears of the end.
        held = pytest.approx(trial.usage.device_seconds, rel=0.05, abs=1.0)
        assert trial.usage.phases.total == held
        assert trial.usage.phases.steps > 0
    (session,) = record.sessions
    assert sum(told["stages"].values()) == pytest.approx(session.seconds, abs=0.5)
    assert session.workers is not None
    workers = sum(told["workers"].values())
    assert workers == pytest.approx(session.workers * told["stages"]["trials"], rel=0.05)
    assert told["trials"] == len(record.trials)


def test_the_teacher_has_a_run_of_its_own(finished: Launched) -> None:
    from mlflow import MlflowClient

    record = read(finished)
    client = MlflowClient(f"sqlite:///{finished.studies / 'mlflow.db'}")
    assert record.mlflow is not None
    assert record.teacher is not None
    (run,) = client.search_runs(
        [str(record.mlflow["experiment_id"])], f"tags.teacher_key = '{record.teacher.key}'"
    )

    assert run.data.metrics["final/val_score"] == record.teacher.val_score
    assert len(client.get_metric_history(run.info.run_id, "val_score")) == 3


def test_the_report_shows_where_teacher_student_and_control_look(finished: Launched) -> None:
    record = read(finished)
    (maps,) = record.illustrations
    distilled, control = (record.trials[number] for number in maps.trials)
    assert distilled.params["terms"] != "ce"
    assert control.params["terms"] == "ce"
    assert distilled.architecture == control.architecture
    assert [len(row.cells) for row in maps.rows] == [4] * 5
    html = (finished.studies / "small" / "report" / "index.html").read_text()
    page = html.partition("<body")[2].partition("<script")[0]
    assert page.count("data:image/png;base64,") == 20


def test_only_the_students_of_the_front_and_those_tied_with_it_are_kept(
    finished: Launched,
) -> None:
    kept = {path.parent.name for path in (finished.studies / "small").rglob("student.pt")}
    ties = finished.result["ties"]

    front = {member["trial"] for member in finished.result["front"]}
    assert kept == {f"t{number:04d}" for number in (*front, *map(int, ties["gave_way"]))}
    # Timed with nothing beside it, and against equals.
    assert set(ties["gave_way"].values()) <= front
    assert 0 < ties["spread"] < math.inf
    for member in finished.result["front"]:
        latency = member["latency"]
        assert latency["idle"]
        assert (latency["folded"], latency["clock"]) == (True, "cpu")
        # Students as narrow as these: by a pace of their own.
        assert latency["paced_by"] == "metronome"
        assert latency["settled"] == (member["trial"] not in finished.result["unsettled"])


def test_another_plan_under_the_same_name_is_refused_with_the_difference(
    finished: Launched,
    launcher: Launcher,
) -> None:
    run = launcher.run(*launcher.small, "--name", "small", "--seed", "3", studies=finished.studies)

    assert run.returncode == 2
    assert "seed 0, now 3" in run.stderr
    assert len(read(finished).trials) == 6


def test_students_slower_than_allowed_cost_no_epoch_and_leave_no_front(
    studies: Path, launcher: Launcher
) -> None:
    run = launcher.run(
        *launcher.small,
        *("--trials", "3", "--max-latency", "0.001", "--tracking-uri", "none", "--json"),
        *("--objectives", "accuracy,latency,params"),
        studies=studies,
    )

    assert run.returncode == 1
    assert run.result["counts"]["infeasible"] == 3
    assert "front" in run.stderr
    record = read(run, "cifar_blocks-digits")
    trials = record.trials
    assert record.teacher is not None
    assert record.reference is not None
    assert record.reference.third == record.teacher.params_m
    assert all(trial.epochs_done == 0 and "0.001 ms" in (trial.reason or "") for trial in trials)


BROKEN_SPACE = """
from dataclasses import replace

from torch import nn

from search_spaces.cifar_blocks import SPACE as BLOCKS


class Broken(nn.Sequential):
    def forward(self, images):
        if self.training:
            raise RuntimeError("no such layer")
        return super().forward(images)


def build_student(params, num_classes, shape):
    return Broken(BLOCKS.build_student(params, num_classes, shape))


SPACE = replace(BLOCKS, name="broken", build_student=build_student)
"""


def test_a_space_whose_students_fail_ends_with_exit_3_and_the_reason(
    studies: Path, launcher: Launcher
) -> None:
    folder = studies
    space = folder.parent / "broken.py"
    space.write_text(BROKEN_SPACE)
    arguments = ["broken.py" if word == "cifar_blocks" else word for word in launcher.small]

    run = launcher.run(
        *(*arguments, "--trials", "8", "--concurrent", "2", "--tracking-uri", "none", "--json"),
        studies=folder,
    )

    assert run.returncode == 3, run.stderr
    assert "no report" not in run.stderr
    assert "no such layer" in run.stderr
    assert run.result["counts"]["failed"] >= 4
    # Who was at work beside the last that failed is left to a resume, and tells nothing as yet.
    assert run.result["counts"]["running"] <= 1


HOT_SPACE = """
from dataclasses import replace

from search_spaces.cifar_blocks import SPACE as BLOCKS

hot = {name: replace(teacher, learning_rate=1e30) for name, teacher in BLOCKS.teachers.items()}
SPACE = replace(BLOCKS, name="hot", teachers=hot)
"""


def test_a_teacher_that_diverges_ends_the_study_with_exit_1_and_the_reason(
    tmp_path: Path, launcher: Launcher
) -> None:
    (tmp_path / "hot.py").write_text(HOT_SPACE)
    arguments = ["hot.py" if word == "cifar_blocks" else word for word in launcher.small]

    run = launcher.run(
        *arguments,
        "--trials",
        "2",
        "--tracking-uri",
        "none",
        "--json",
        studies=tmp_path / "studies",
    )

    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("error: the training of the teacher ResNet-26 [2,2,2,2] diverged")
    assert run.result["ended"] == "failed"
    assert [session.end for session in read(run, "hot-digits").sessions] == ["failed"]


def test_dry_run_measures_and_writes_nothing(tmp_path: Path, launcher: Launcher) -> None:
    studies = tmp_path / "studies"

    run = launcher.run(*launcher.small, "--dry-run", "--json", studies=studies)

    assert run.returncode == 0, run.stderr
    plan = json.loads(run.stdout)
    assert plan["seconds"]["trials"] > 0
    assert plan["plan"]["fixed"] == {"width": 16}
    assert list(tmp_path.iterdir()) == []


def test_ones_own_teacher_can_be_asked_live_and_the_record_kept_in_a_database(
    finished: Launched, studies: Path, launcher: Launcher
) -> None:
    (weights,) = finished.studies.glob("teachers/*/weights.pt")
    own = studies.parent / "own.pt"
    shutil.copy(weights, own)

    run = launcher.run(
        *BRIEF,
        *("--space", "cifar_blocks", "--data", "digits", "--fix", "width=16", "--max-epochs", "1"),
        *("--teacher", str(own), "--teacher-outputs", "live", "--tracking-uri", "none"),
        *("--storage", f"sqlite:///{studies.parent / 'record.db'}", "--trials", "2", "--json"),
        studies=studies,
    )

    assert run.returncode == 0, run.stderr
    assert run.result["counts"]["complete"] == 2
    assert run.result["teacher"]["source"] == str(own)
    teacher = finished.result["teacher"]
    assert run.result["teacher"]["test_score"] == pytest.approx(teacher["test_score"], abs=1)
    assert not (studies / "cifar_blocks-digits" / "journal.log").exists()
    assert "asked live" in run.stderr


def test_a_spent_budget_ends_every_trial_in_one_state_everywhere(
    finished: Launched, studies: Path, launcher: Launcher
) -> None:
    from mlflow import MlflowClient

    # Of which some is left when trials begin, however long it takes to begin.
    budget = 30 + 3 * finished.result["time"]["stages"]["starting"]
    run = launcher.run(
        *launcher.small[:-4],
        *("--max-epochs", "50000", "--teacher-epochs", "3", "--scheduler", "none"),
        *("--trials", "50", "--budget", f"{budget:.0f}s", "--json"),
        studies=studies,
    )

    record = read(run, "cifar_blocks-digits")
    assert run.returncode == 1, run.stderr  # nothing was trained to its 50,000th epoch
    assert "no report" not in run.stderr
    assert run.result["counts"]["running"] == run.result["counts"]["complete"] == 0
    assert record.trials
    assert all(
        trial.outcome is not None and "the budget was spent" in (trial.outcome.reason or "")
        for trial in record.trials
    )
    client = MlflowClient(f"sqlite:///{studies / 'mlflow.db'}")
    for trial in record.trials:
        assert trial.mlflow_run_id is not None
        seen = client.get_run(trial.mlflow_run_id)
        assert seen.data.tags["outcome"] == trial.status
        assert seen.info.status in ("FINISHED", "FAILED")
        assert seen.info.end_time is not None
