"""Students in the registry: each network of a trial a version of its own, under MLflow's names."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_model_name

from analysis.record import StudyResults, read_record
from analysis.stored_plan import read_plan
from study.plan import PlanError
from study.record import StudyRecord
from study.tracking.models import show_model
from study.tracking.notes import student_model
from study.tracking.registry import check_registry, register_student
from study.tracking.session import open_study
from study.tracking.synchronise import replay
from study.tracking.tracker import default_tracking_uri


@pytest.fixture(autouse=True)
def process_that_tracks_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registration sets where the process tracks for a while: other tests are to set it too."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")


def written(sample: SimpleNamespace, studies: Path, kind: str | None = None) -> StudyResults:
    """A study of one trial, which MLflow does not know."""
    plan = sample.plan(name="digits-0.5")
    plan["space"]["data_kind"] = kind
    trials = [sample.trial(sample.params(), accuracy=81.0, ratio=3.0)]
    return read_record(sample.write_record(studies / plan["name"], trials, plan_content=plan))


def shown(results: StudyResults, studies: Path) -> StudyResults:
    """The same study, shown to MLflow."""
    folder = studies / results.plan.name
    record, plan = StudyRecord(folder, folder.name, None), read_plan(folder / "plan.json")
    tracker = open_study(record, plan, default_tracking_uri(studies), pytest.fail)
    replay(record, tracker, pytest.fail)
    assert tracker.wait(60).undelivered == 0
    tracker.close(10)
    return read_record(folder)


def test_the_two_networks_of_a_translating_student_are_two_models(
    sample: SimpleNamespace, tmp_path: Path
) -> None:
    results = shown(written(sample, tmp_path, "pairs"), tmp_path)
    (trial,) = results.trials
    where = check_registry(results, trial, "translator", tmp_path)
    sizes = {"x_to_y": 7, "y_to_x": 12}
    for direction, size in sizes.items():
        (tmp_path / f"{direction}.pt2").write_bytes(bytes(size))

    def register(direction: str) -> str:
        program = tmp_path / f"{direction}.pt2"
        made = register_student(results, trial, program, "uint8", direction, "translator", where)
        return str(made["version"])

    assert [register(way) for way in ("x_to_y", "y_to_x", "x_to_y")] == ["1", "2", "1"]
    client = MlflowClient(where["uri"], where["uri"])
    for version, (direction, words) in enumerate({"x_to_y": "X to Y", "y_to_x": "Y to X"}.items()):
        made = client.get_model_version("translator", str(version + 1))
        model = client.get_logged_model(str(made.source).removeprefix("models:/"))
        (file,) = client.list_logged_model_artifacts(model.model_id, "data")
        assert file.file_size == sizes[direction]
        assert model.tags["direction"] == direction
        assert model.name == f"digits-0-5 t0000 {trial.architecture}, {words}"
        assert words in model.tags["mlflow.note.content"]
        assert str(made.description).startswith(f"digits-0.5 t0000 {words}: accuracy")


def test_a_student_that_names_classes_is_one_model_whatever_the_direction(
    sample: SimpleNamespace, tmp_path: Path
) -> None:
    results = shown(written(sample, tmp_path), tmp_path)
    (trial,) = results.trials
    where = check_registry(results, trial, "small", tmp_path)
    (tmp_path / "a.pt2").write_bytes(b"program")

    made = register_student(results, trial, tmp_path / "a.pt2", "uint8", "x_to_y", "small", where)

    client = MlflowClient(where["uri"], where["uri"])
    version = client.get_model_version("small", str(made["version"]))
    model = client.get_logged_model(str(version.source).removeprefix("models:/"))
    assert "direction" not in model.tags
    assert model.name == f"digits-0-5 t0000 {trial.architecture}"
    assert str(version.description).startswith("digits-0.5 t0000: accuracy")


def test_a_version_is_the_very_file_though_the_run_has_a_model_of_another(
    sample: SimpleNamespace, tmp_path: Path
) -> None:
    results = shown(written(sample, tmp_path), tmp_path)
    (trial,) = results.trials
    where = check_registry(results, trial, "small", tmp_path)
    client = MlflowClient(where["uri"], where["uri"])
    programs = {name: tmp_path / f"{name}.pt2" for name in ("front", "checked", "mended")}
    for name, path in programs.items():
        path.write_bytes(name.encode())

    def show() -> str:
        model = student_model(results.plan, trial, programs["front"])
        return show_model(client, where["experiment"], where["run"], model).model_id

    def register(name: str) -> str:
        made = register_student(results, trial, programs[name], "uint8", "x_to_y", "small", where)
        return str(made["version"])

    def content(version: str) -> str:
        source = str(client.get_model_version("small", version).source)
        folder = client.get_logged_model(source.removeprefix("models:/")).artifact_location
        return (Path(folder.removeprefix("file://")) / "data" / "model.pt2").read_text()

    of_front = show()
    assert [register(name) for name in ("checked", "checked", "mended", "checked")] == [
        "1", "1", "2", "1",
    ]  # fmt: skip
    assert [content(version) for version in "12"] == ["checked", "mended"]
    show()  # by a later sync, which makes nothing more
    students = client.search_logged_models([where["experiment"]])
    assert len(students) == 3
    assert of_front in {model.model_id for model in students}


@pytest.mark.parametrize(
    "name",
    ["small", "digits-0.5", "a.b.c", ".x", "x..", "ä b", "", " ", ".", "..", "..x", "a/b", "a:b"],
)
def test_a_name_is_refused_where_mlflow_would_refuse_it_and_the_one_proposed_is_not(
    sample: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    results = written(sample, tmp_path)

    def refusal(name: str) -> str:
        with pytest.raises(PlanError) as error:
            check_registry(results, results.trials[0], name, tmp_path)
        return str(error.value)

    try:
        _validate_model_name(name)
    except MlflowException:
        assert "MLflow names a model" in refusal(name)
        proposed = refusal(name).rpartition("try ")[2]
        assert proposed == "digits-0.5"
        _validate_model_name(proposed)
        assert "is not in MLflow yet" in refusal(proposed)
    else:
        assert "is not in MLflow yet" in refusal(name)
