"""Students in MLflow: models that its own loaders open, once each, and versions on request."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from requests import HTTPError, Response

from search_spaces.networks import dense
from study.distillation.export import Shipped, write
from study.tracking.inputs import DataInput
from study.tracking.mlflow import MlflowTracker
from study.tracking.models import StudentModel, register, show_model
from study.tracking.tracker import default_tracking_uri

SHAPE, CLASSES = (8, 8, 1), 3
DATA = DataInput("digits", "c085d9adf5747afa", "scikit-learn digits", {"train": 1222})
FORBIDDEN = Response()
FORBIDDEN.status_code = 403
CURVE = {"epoch": 1, "val_score": 90.0, "val_loss": 0.1, "train_loss": 0.2, "seconds": 1.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow's database is, laid out once, and a student's program."""
    folder = tmp_path_factory.mktemp("models")
    MlflowClient(default_tracking_uri(folder)).search_experiments()
    torch.manual_seed(0)
    student = dense.build(SHAPE, (4,), CLASSES)
    shipped = Shipped(student, (0.5,), (0.25,), takes="uint8", classes=CLASSES)
    write(shipped, SHAPE, folder / "t0001.pt2", "pt2", {"study": "first"})
    return folder


@pytest.fixture
def client(place: Path) -> MlflowClient:
    return MlflowClient(default_tracking_uri(place))


def student(place: Path, **changes: object) -> StudentModel:
    values = {
        "name": "first t0001 [4]",
        "program": place / "t0001.pt2",
        "shape": SHAPE,
        "takes": "uint8",
        "output": CLASSES,
        "params": {"width": "4"},
        "tags": {"study": "first", "trial": "t0001"},
        "description": "A **small** student.",
        "data": DATA,
    }
    return StudentModel(**(values | changes))  # type: ignore[arg-type]


def tracked(place: Path, space: str, *, model: StudentModel | None) -> tuple[str, list[str]]:
    """Tell of a study with a teacher and one trial; returns the trial's run id and warnings."""
    runs: dict[tuple[str, int | None], str] = {}
    warnings: list[str] = []
    tracker = MlflowTracker(
        default_tracking_uri(place),
        place / "artifacts",
        warnings.append,
        lambda kind, number, run_id: runs.update({(kind, number): run_id}),
        gather_seconds=0.01,
    )
    tracker.study_started("first", space, "", {}, {}, study_key="first", data=DATA)
    tracker.teacher_trained("0a1b", "ResNet-50 [3,4,6,3]", {"epochs": 1}, [CURVE], {})
    tracker.trial_started(1, "t0001 [4]", {"width": 4}, {})
    tracker.epoch(1, CURVE)
    tracker.trial_finished(1, "complete", None, {"val_score": 90.0, "latency_ms": 0.5})
    if model is not None:
        tracker.trial_on_front(1, True, model)
    tracker.study_finished("complete", {})
    assert tracker.close(60).undelivered == 0
    return runs["trial", 1], warnings


def models(client: MlflowClient, run_id: str, kind: str = "student") -> list[LoggedModel]:
    experiment = client.get_run(run_id).info.experiment_id
    return [m for m in client.search_logged_models([experiment]) if m.model_type == kind]


def test_a_student_is_a_model_of_its_run_that_mlflow_itself_opens(
    place: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, warnings = tracked(place, "opened", model=student(place))
    (model,) = models(client, run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_tracking_uri(place))
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8)).astype("uint8")

    network = mlflow.pytorch.load_model(f"models:/{model.model_id}")
    function = mlflow.pyfunc.load_model(f"models:/{model.model_id}")

    assert warnings == []
    assert model.status == LoggedModelStatus.READY
    assert model.source_run_id == run_id
    assert model.params == {"width": "4"}
    assert model.tags["mlflow.note.content"] == "A **small** student."
    wanted = torch.export.load(place / "t0001.pt2").module()(torch.from_numpy(images))
    assert torch.equal(network(torch.from_numpy(images)), wanted)
    np.testing.assert_allclose(function.predict(images), wanted.detach().numpy(), rtol=1e-6)
    (takes,) = function.metadata.signature.inputs.inputs
    (answers,) = function.metadata.signature.outputs.inputs
    assert (takes.type, takes.shape) == (np.dtype("uint8"), (-1, 1, 8, 8))
    assert (answers.type, answers.shape) == (np.dtype("float32"), (-1, CLASSES))
    assert function.input_example.shape == (2, 1, 8, 8)


def test_it_carries_the_runs_final_figures_on_their_data_and_doubles_no_point(
    place: Path, client: MlflowClient
) -> None:
    run_id, _ = tracked(place, "figures", model=student(place))
    (model,) = models(client, run_id)

    figures = {metric.key: metric for metric in model.metrics}
    assert {key: metric.value for key, metric in figures.items()} == {
        "final/val_score": 90.0,
        "final/latency_ms": 0.5,
    }
    assert {metric.dataset_name for metric in figures.values()} == {"digits"}
    assert len(client.get_metric_history(run_id, "final/val_score")) == 1
    assert len(client.get_metric_history(run_id, "val_score")) == 1


def test_a_model_follows_the_figures_of_its_run_once_these_are_confirmed(
    place: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = tracked(place, "confirmed", model=student(place))
    (before,) = models(client, run_id)
    confirmed = {"val_score": 90.0, "latency_ms": 0.4, "test_score": 89.0}

    def shown_again() -> None:
        tracker = MlflowTracker(
            default_tracking_uri(place), place / "artifacts", pytest.fail, lambda *_: None, 0.01
        )
        tracker.study_started("first", "confirmed", "", {}, {}, study_key="first", data=DATA)
        tracker.trial_confirmed(1, confirmed)
        tracker.trial_on_front(1, True, student(place))
        assert tracker.close(60).undelivered == 0

    shown_again()
    (model,) = models(client, run_id)
    points = sorted(model.metrics, key=lambda metric: metric.timestamp)
    assert model.model_id == before.model_id
    assert {metric.key: metric.value for metric in points} == {
        f"final/{key}": value for key, value in confirmed.items()
    }
    assert len(points) == 4  # what was told before confirmation stays in the history
    assert {metric.dataset_name for metric in points} == {"digits"}
    assert len(client.get_metric_history(run_id, "final/latency_ms")) == 2

    log_batch, told = MlflowClient.log_batch, []

    def heard(self: MlflowClient, run: str, points: list[Metric], *more: object) -> None:
        told.extend(points)
        log_batch(self, run, points, *more)

    monkeypatch.setattr(MlflowClient, "log_batch", heard)
    shown_again()
    assert told == []


def test_shown_again_it_is_the_same_and_one_begun_is_finished(
    place: Path, client: MlflowClient
) -> None:
    run_id, _ = tracked(place, "again", model=None)
    experiment = client.get_run(run_id).info.experiment_id
    tags = {"student_run": run_id, "takes": "uint8"}
    begun = client.create_logged_model(experiment, "x", run_id, tags, {}, "student")

    shown = [show_model(client, experiment, run_id, student(place)) for _ in range(2)]

    assert {model.model_id for model in shown} == {begun.model_id}
    assert [model.model_id for model in models(client, run_id)] == [begun.model_id]
    assert models(client, run_id)[0].status == LoggedModelStatus.READY


def test_one_that_was_not_finished_once_its_run_had_it_is_finished(
    place: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = tracked(place, "unfinished", model=None)
    experiment = client.get_run(run_id).info.experiment_id

    def cut_off(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "finalize_logged_model", cut_off)
        with pytest.raises(ConnectionError):
            show_model(client, experiment, run_id, student(place))
    shown = show_model(client, experiment, run_id, student(place))

    assert shown.status == LoggedModelStatus.READY
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    assert [made.model_id for made in outputs.model_outputs] == [shown.model_id]


def test_one_that_was_not_finished_becomes_that_of_the_file_it_is_finished_with(
    place: Path, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = tracked(place, "other_file", model=None)
    experiment = client.get_run(run_id).info.experiment_id
    programs = [tmp_path / name for name in ("first", "second")]
    for path in programs:
        path.write_text(path.name)

    def show(number: int) -> LoggedModel:
        model = student(place, program=programs[number])
        return show_model(client, experiment, run_id, model, exact=True)

    def cut_off(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "finalize_logged_model", cut_off)
        with pytest.raises(ConnectionError):
            show(0)
    shown = [show(number) for number in (1, 1, 0, 0)]

    identifiers = [model.model_id for model in shown]
    assert identifiers[0] == identifiers[1] != identifiers[2] == identifiers[3]
    for model, name in zip(shown, ("second", "second", "first", "first"), strict=True):
        folder = Path(model.artifact_location.removeprefix("file://"))
        assert (folder / "data" / "model.pt2").read_text() == name
    assert len(models(client, run_id)) == 2


def test_a_version_follows_the_figures_of_its_run_as_the_model_of_the_front_does(
    place: Path, client: MlflowClient, tmp_path: Path
) -> None:
    run_id, _ = tracked(place, "both follow", model=student(place))
    experiment = client.get_run(run_id).info.experiment_id
    (tmp_path / "checked.pt2").write_text("checked")
    checked = student(place, program=tmp_path / "checked.pt2")
    show_model(client, experiment, run_id, checked, exact=True)
    client.log_metric(run_id, "final/test_score", 89.0)

    show_model(client, experiment, run_id, student(place))

    scores = [{m.key: m.value for m in model.metrics} for model in models(client, run_id)]
    assert [score["final/test_score"] for score in scores] == [89.0, 89.0]


def test_all_runs_name_their_data_and_the_study_its_teacher(
    place: Path, client: MlflowClient
) -> None:
    run_id, _ = tracked(place, "inputs", model=None)
    tracked(place, "inputs", model=None)  # of another session
    experiment = client.get_run(run_id).info.experiment_id

    for run in client.search_runs([experiment]):
        full = client.get_run(run.info.run_id)
        (given,) = full.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == (DATA.name, DATA.digest)
        if full.data.tags["kind"] == "study":
            (teacher,) = models(client, run_id, "teacher")
            assert [m.model_id for m in full.inputs.model_inputs] == [teacher.model_id]
            assert teacher.name == "ResNet-50 [3,4,6,3]"


def test_the_front_is_marked_until_a_trial_has_left_it_and_has_a_view(
    place: Path, client: MlflowClient
) -> None:
    run_id, _ = tracked(place, "front", model=student(place))
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    marked = client.get_run(run_id).data.tags.get("front")
    tracker = MlflowTracker(
        default_tracking_uri(place), place / "artifacts", pytest.fail, lambda *_: None, 0.01
    )
    tracker.study_started("first", "front", "", {}, {}, study_key="first", run_id=None)
    tracker.trial_on_front(1, False)
    assert tracker.close(60).undelivered == 0

    assert marked == "yes"
    assert "front" not in client.get_run(run_id).data.tags
    view = json.loads(experiment.tags["mlflow.sharedViewState.front"])
    state = json.loads(view["state"])
    assert state["searchFilter"] == "tags.front = 'yes'"
    assert "metrics.`final/latency_ms`" in state["selectedColumns"]
    assert client.search_runs([experiment.experiment_id], state["searchFilter"]) == []


def test_a_missing_program_is_refused_and_stops_nothing(place: Path, client: MlflowClient) -> None:
    warnings: list[str] = []
    tracker = MlflowTracker(
        default_tracking_uri(place), place / "artifacts", warnings.append, lambda *_: None, 0.01
    )
    tracker.study_started("first", "missing", "", {}, {}, study_key="first")
    tracker.trial_started(1, "t0001", {}, {})
    tracker.trial_finished(1, "complete", None, {"val_score": 90.0})
    tracker.trial_on_front(1, True, student(place, program=place / "gone.pt2"))
    tracker.study_finished("complete", {})

    report = tracker.close(30)

    assert report.refused > 0
    assert report.undelivered == report.refused
    (warning,) = warnings
    assert "gone.pt2" in warning


def test_a_student_becomes_a_version_once_and_another_the_next(
    place: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_tracking_uri(place))
    run_id, _ = tracked(place, "versions", model=None)
    experiment = client.get_run(run_id).info.experiment_id

    def again(**changes: object) -> str:
        shown = show_model(client, experiment, run_id, student(place, **changes))
        return str(register(client, shown, "small", "first t0001: accuracy 90 %").version)

    assert [again(), again(), again(takes="float32"), again()] == ["1", "1", "2", "1"]
    assert [again(direction=way) for way in ("x_to_y", "y_to_x", "x_to_y")] == ["3", "4", "3"]
    version = client.get_model_version("small", "1")
    assert version.run_id == run_id
    assert version.description == "first t0001: accuracy 90 %"
    assert mlflow.pyfunc.load_model("models:/small/1").metadata.run_id == run_id


@pytest.mark.parametrize(
    "problem",
    [
        AssertionError("an example of another shape"),
        MlflowException("no such route", error_code=ENDPOINT_NOT_FOUND),
        HTTPError("403 Client Error", response=FORBIDDEN),
    ],
    ids=["in making it", "a server without models", "files that are not taken"],
)
def test_what_is_wrong_with_a_model_holds_nothing_else_up(
    place: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr("study.tracking.store.show_model", fail)
    runs: dict[str, str] = {}
    warnings: list[str] = []
    tracker = MlflowTracker(
        default_tracking_uri(place),
        place / "artifacts",
        warnings.append,
        lambda kind, number, run_id: runs.update({kind: run_id}),
        gather_seconds=0.01,
    )
    tracker.study_started("held up", f"held up {type(problem).__name__}", "", {}, {}, study_key="h")
    tracker.trial_started(1, "t0001 [4]", {"width": 4}, {})
    tracker.trial_on_front(1, True, student(place))
    tracker.trial_finished(1, "complete", None, {"val_score": 90.0, "latency_ms": 0.5})
    tracker.study_finished("complete", {"front_size": 1})

    report = tracker.close(60)

    assert report.refused == report.undelivered > 0  # what the trial had to tell, in one update
    assert str(problem).rpartition(": ")[2] in " ".join(warnings)
    assert client.get_run(runs["study"]).info.status == "FINISHED"
    assert client.get_run(runs["trial"]).data.metrics["final/val_score"] == 90.0
