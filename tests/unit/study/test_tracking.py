"""What MLflow holds of a study is what the driver told, once; and MLflow stops nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.tracking.mlflow import MlflowTracker
from study.tracking.tracker import (
    Tracker,
)

CURVE_NAMES = {"val_score", "val_loss", "train_loss", "learning_rate", "epoch_seconds"}


def epoch_result(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "val_loss": 2.1 / epoch,
        "val_score": 50.0 + epoch,
        "learning_rate": 0.1 / epoch,
        "seconds": 1.5,
    }


@dataclass
class Session:
    """One driver's session with a tracker, and all that the tracker handed back."""

    uri: str
    artifacts: Path
    space: str
    study: str = "first"
    runs: list[tuple[str, int | None, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        self.tracker = MlflowTracker(
            self.uri,
            self.artifacts,
            self.warnings.append,
            lambda kind, number, run_id: self.runs.append((kind, number, run_id)),
            gather_seconds=0.01,
        )

    def start(self, run_id: str | None = None, **params: Any) -> None:
        self.tracker.study_started(
            self.study,
            self.space,
            "Four blocks.",
            {"trials": 2} | params,
            {"data": "digits"},
            study_key=f"{self.study}@2026-01-01T00:00:00Z",
            run_id=run_id,
        )

    def trial(self, number: int, epochs: range, run_id: str | None = None) -> None:
        self.tracker.trial_started(
            number,
            f"t{number:04d} [1,1,1,1] stride 2 T=4",
            {"temperature": 4.0, "blocks": "[1,1,1,1]"},
            {"source": "preset"},
            run_id=run_id,
        )
        for epoch in epochs:
            self.tracker.epoch(number, epoch_result(epoch))

    def close(self) -> None:
        report = self.tracker.close(timeout=60)
        assert report.undelivered == 0, report
        assert report.warning is None

    def id_of(self, kind: str, number: int | None = None) -> str:
        (run_id,) = {r for k, n, r in self.runs if (k, n) == (kind, number)}
        return run_id


@pytest.fixture
def session(uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Session]:
    """Makes sessions of one experiment, named after the test."""
    return lambda **kwargs: Session(uri, tmp_path / "files", request.node.name, **kwargs)


def all_runs(client: MlflowClient, space: str) -> list[Run]:
    experiment = client.get_experiment_by_name(space)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def history(client: MlflowClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run_id, metric))


def test_trials_are_nested_runs_with_exact_curves_and_separate_finals(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start()
    one.trial(0, range(1, 4))
    one.tracker.trial_finished(0, "complete", None, {"val_score": 53.0, "params_m": 0.5})
    one.tracker.study_finished("complete", {"hypervolume": 0.7})
    one.close()

    study = client.get_run(one.id_of("study"))
    trial = client.get_run(one.id_of("trial", 0))
    assert len(all_runs(client, one.space)) == 2
    assert study.info.run_name == "first"
    assert study.info.status == trial.info.status == "FINISHED"
    assert study.data.params == {"trials": "2"}
    assert study.data.metrics == {"final/hypervolume": 0.7}
    assert (
        study.data.tags.items()
        >= {
            "kind": "study",
            "outcome": "complete",
            "data": "digits",
            "mlflow.note.content": "Four blocks.",
        }.items()
    )
    assert trial.info.run_name == "t0000 [1,1,1,1] stride 2 T=4"
    assert trial.data.params == {"temperature": "4.0", "blocks": "[1,1,1,1]"}
    assert (
        trial.data.tags.items()
        >= {
            "kind": "trial",
            "study": "first",
            "trial": "0",
            "source": "preset",
            "outcome": "complete",
            "mlflow.parentRunId": study.info.run_id,
        }.items()
    )
    assert set(trial.data.metrics) == CURVE_NAMES | {"final/val_score", "final/params_m"}
    assert history(client, trial.info.run_id, "val_score") == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert history(client, trial.info.run_id, "train_loss") == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert history(client, trial.info.run_id, "epoch_seconds") == [(1, 1.5), (2, 1.5), (3, 1.5)]
    assert history(client, trial.info.run_id, "final/val_score") == [(0, 53.0)]
    assert one.tracker.experiment_id == study.info.experiment_id


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("complete", "FINISHED"),
        ("stopped", "FINISHED"),
        ("infeasible", "FAILED"),
        ("failed", "FAILED"),
    ],
)
def test_outcome_of_the_record_is_kept_beside_mlflows_status(
    session: Callable[..., Session], client: MlflowClient, outcome: str, status: str
) -> None:
    one = session()
    one.start()
    one.trial(7, range(1, 2))
    one.tracker.trial_finished(7, outcome, "a reason", {})
    one.close()
    trial = client.get_run(one.id_of("trial", 7))
    assert trial.info.status == status
    assert trial.data.tags["outcome"] == outcome
    assert trial.data.tags["reason"] == "a reason"


def test_a_trial_ends_once_and_open_ones_end_with_their_study(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start()
    one.trial(0, range(1, 2))
    one.trial(1, range(1, 2))
    one.tracker.trial_finished(0, "failed", "loss is not finite", {})
    one.tracker.trial_finished(0, "complete", None, {"val_score": 1.0})
    one.tracker.study_finished("SIGTERM", {})
    one.tracker.trial_finished(1, "complete", None, {})
    one.close()
    ended, open_one = (client.get_run(one.id_of("trial", number)) for number in (0, 1))
    assert (ended.info.status, ended.data.tags["outcome"]) == ("FAILED", "failed")
    assert "final/val_score" not in ended.data.metrics
    assert (open_one.info.status, open_one.data.tags["outcome"]) == ("KILLED", "interrupted")
    assert client.get_run(one.id_of("study")).info.status == "KILLED"


def test_a_study_closed_without_an_end_is_interrupted(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start()
    one.close()
    study = client.get_run(one.id_of("study"))
    assert (study.info.status, study.data.tags["outcome"]) == ("KILLED", "interrupted")


def test_a_teacher_has_one_run_for_all_studies_of_a_space(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    curve = [epoch_result(1), epoch_result(2)]
    found = set()
    for study in ("first", "second"):
        one = session(study=study)
        one.start()
        one.tracker.teacher_trained(
            "0a1b", "ResNet-50 [3,4,6,3]", {"epochs": 2}, curve, {"val_score": 99.0}
        )
        one.close()
        found.add(one.id_of("teacher"))
    (run_id,) = found
    teacher = client.get_run(run_id)
    assert len(all_runs(client, one.space)) == 3
    assert teacher.info.run_name == "teacher ResNet-50 [3,4,6,3]"
    assert teacher.info.status == "FINISHED"
    assert teacher.data.tags["teacher_key"] == "0a1b"
    assert "mlflow.parentRunId" not in teacher.data.tags
    assert history(client, run_id, "val_score") == [(1, 51.0), (2, 52.0)]
    assert history(client, run_id, "final/val_score") == [(0, 99.0)]
    assert teacher.info.end_time - teacher.info.start_time == 3000


@pytest.mark.parametrize("ids_were_kept", [True, False], ids=["ids kept", "ids lost"])
def test_a_resumed_study_goes_on_in_the_same_runs_and_doubles_nothing(
    session: Callable[..., Session], client: MlflowClient, ids_were_kept: bool
) -> None:
    one = session()
    one.start()
    one.trial(0, range(1, 3))
    one.tracker.trial_finished(0, "complete", None, {"val_score": 52.0})
    one.trial(1, range(1, 4))
    one.tracker.study_finished("SIGINT", {"hypervolume": 0.5})
    one.close()

    two = session()
    ids = {(kind, number): run_id for kind, number, run_id in one.runs} if ids_were_kept else {}
    two.start(ids.get(("study", None)), trials=9)
    two.trial(1, range(3, 6), ids.get(("trial", 1)))
    two.tracker.trial_finished(1, "stopped", "rung 1", {"val_score": 55.0})
    two.tracker.trial_confirmed(0, {"val_score": 52.0, "test_score": 51.0})
    two.tracker.study_finished("complete", {"hypervolume": 0.5})
    two.close()

    assert len(all_runs(client, one.space)) == 3
    study = client.get_run(one.id_of("study"))
    assert two.id_of("study") == study.info.run_id
    assert study.info.status == "FINISHED"
    assert study.data.params["trials"] == "2"
    assert study.data.tags["resumed/trials"] == "9"
    assert history(client, study.info.run_id, "final/hypervolume") == [(0, 0.5)]
    resumed = one.id_of("trial", 1)
    assert two.id_of("trial", 1) == resumed
    assert history(client, resumed, "val_score") == [(e, 50.0 + e) for e in range(1, 6)]
    assert client.get_run(resumed).data.tags["outcome"] == "stopped"
    confirmed = client.get_run(one.id_of("trial", 0))
    assert confirmed.info.status == "FINISHED"
    assert confirmed.data.metrics["final/test_score"] == 51.0
    assert history(client, confirmed.info.run_id, "final/val_score") == [(0, 52.0)]


def test_an_open_run_is_running_again_after_a_resume(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start()
    one.close()
    two = session()
    two.start(one.id_of("study"))
    deadline = time.monotonic() + 30
    while client.get_run(one.id_of("study")).info.status != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    two.close()


def test_ids_that_mlflow_no_longer_has_give_new_runs(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start(run_id="f" * 32)
    one.trial(0, range(1, 2))
    one.close()
    two = session()
    client.delete_run(one.id_of("trial", 0))
    two.start(one.id_of("study"))
    two.trial(0, range(1, 3), one.id_of("trial", 0))
    two.close()
    assert two.id_of("trial", 0) != one.id_of("trial", 0)
    assert history(client, two.id_of("trial", 0), "val_score") == [(1, 51.0), (2, 52.0)]


def test_studies_of_one_name_but_another_key_are_kept_apart(
    session: Callable[..., Session],
) -> None:
    ids = set()
    for created in ("monday", "tuesday"):
        one = session()
        one.tracker.study_started("first", one.space, "", {}, {}, study_key=f"first@{created}")
        one.close()
        ids.add(one.id_of("study"))
    assert len(ids) == 2


def test_files_of_the_report_and_students_are_kept_with_the_study(
    session: Callable[..., Session], client: MlflowClient, tmp_path: Path
) -> None:
    report = tmp_path / "index.html"
    report.write_text("<h1>front</h1>")
    student = tmp_path / "t0003" / "final.pt"
    student.parent.mkdir()
    student.write_bytes(b"weights")
    one = session()
    one.start()
    one.tracker.study_finished("complete", {}, [report, tmp_path / "not there.csv"], [student])
    one.close()
    run_id = one.id_of("study")
    assert [f.path for f in client.list_artifacts(run_id, "report")] == ["report/index.html"]
    stored = [f.path for f in client.list_artifacts(run_id, "students/t0003")]
    assert stored == ["students/t0003/final.pt"]
    assert any((tmp_path / "files" / one.space).rglob("final.pt"))


def test_values_that_are_missing_or_not_finite_are_left_out(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start()
    one.trial(0, range(1, 2))
    one.tracker.epoch(0, epoch_result(2) | {"train_loss": None, "val_loss": float("nan")})
    finals = {"val_score": None, "params_m": float("inf"), "latency_ms": np.float32(1.5)}
    one.tracker.trial_finished(0, "failed", None, finals)
    one.close()
    run_id = one.id_of("trial", 0)
    assert len(history(client, run_id, "val_score")) == 2
    assert len(history(client, run_id, "train_loss")) == 1
    assert len(history(client, run_id, "val_loss")) == 1
    final = {k for k in client.get_run(run_id).data.metrics if k.startswith("final/")}
    assert final == {"final/latency_ms"}


def test_long_values_strange_names_and_large_batches_are_accepted(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    one.start(**{f"setting {n}": n for n in range(250)}, **{"a[0]=é": "x" * 20_000})
    one.trial(0, range(1, 401))
    one.tracker.trial_finished(0, "failed", "y" * 20_000, {})
    one.close()
    params = client.get_run(one.id_of("study")).data.params
    assert len(params) == 252
    assert params["a_0__é"] == "x" * 6000
    assert len(history(client, one.id_of("trial", 0), "val_score")) == 400


def test_a_lost_answer_to_a_creation_does_not_make_a_second_run(
    session: Callable[..., Session], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, calls = MlflowClient.create_run, []

    def create_and_lose_the_answer(self: MlflowClient, *args: Any, **kwargs: Any) -> Run:
        run = create(self, *args, **kwargs)
        calls.append(run.info.run_id)
        if len(calls) <= 2:
            raise ConnectionError("connection reset")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", create_and_lose_the_answer)
    one = session()
    one.start()
    one.trial(0, range(1, 4))
    one.tracker.trial_finished(0, "complete", None, {"val_score": 53.0})
    one.tracker.close(timeout=60)
    assert len(all_runs(client, one.space)) == 2
    assert history(client, one.id_of("trial", 0), "val_score") == [(1, 51), (2, 52), (3, 53)]
    assert len(one.warnings) == 1
    assert "connection reset" in one.warnings[0]


def test_a_lost_answer_to_a_batch_does_not_double_its_points(
    session: Callable[..., Session], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_batch, calls = MlflowClient.log_batch, []

    def log_and_lose_the_answer(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        log_batch(self, *args, **kwargs)
        calls.append(args)
        if len(calls) % 2:
            raise TimeoutError("timed out")

    monkeypatch.setattr(MlflowClient, "log_batch", log_and_lose_the_answer)
    one = session()
    one.start()
    one.trial(0, range(1, 4))
    one.tracker.close(timeout=60)
    assert history(client, one.id_of("trial", 0), "val_score") == [(1, 51), (2, 52), (3, 53)]


def test_a_deleted_experiment_is_named_with_the_mend_and_stops_nothing(
    session: Callable[..., Session], client: MlflowClient
) -> None:
    one = session()
    experiment_id = client.create_experiment(one.space)
    client.delete_experiment(experiment_id)
    one.start()
    one.trial(0, range(1, 3))
    one.tracker.wait(60)  # until it has been asked
    report = one.tracker.close(timeout=0.1)
    assert (report.delivered, report.undelivered) == (0, 6)
    (warning,) = one.warnings
    assert f"mlflow experiments restore --experiment-id {experiment_id}" in warning
    assert "the study goes on" in warning
