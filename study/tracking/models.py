"""Students as MLflow's models: a pt2 file, what goes in and comes out, and the run it is of.

The files are laid out here as `mlflow.pytorch.save_model` lays them out, which cannot be asked
without loading torch; `mlflow.pytorch.load_model` and `mlflow.pyfunc.load_model` open them.
"""

import contextlib
import hashlib
import importlib.util
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from study.tracking.points import FINAL
from study.tracking.run import LONGEST_PARAM, NOTE_TAG, mlflow_name, origin

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric
    from mlflow.entities.model_registry import ModelVersion

    from study.tracking.inputs import DataInput

MODEL_TYPE: Final = "student"
# What a model is found by: the run it is of, what it takes, and where it translates to.
RUN_TAG: Final = "student_run"
TAKES_TAG: Final = "takes"
DIRECTION_TAG: Final = "direction"
_PROGRAM_TAG: Final = "program_sha256"
_VERSIONS_TAG: Final = "mlflow.modelVersions"
_READY: Final = "READY"
_EXAMPLES: Final = 2  # images in the input example


@dataclass(frozen=True)
class StudentModel:
    """A student that MLflow is to show as a model.

    Attributes:
        name: As MLflow takes it: without `/ : . % " '`.
        program: Its pt2 file.
        shape: Height, width and channels of an image.
        takes: What images come as: `uint8` or `float32`.
        output: Columns of the answer; None of a student that answers images.
        params: The trial's parameters.
        tags: Further words to find it by.
        description: What it is, Markdown.
        data: What it learnt from and was scored on.
        direction: Which of its trial's two networks it is, `x_to_y` or `y_to_x`; None of a student
            that is the only one of its trial.
    """

    name: str
    program: Path
    shape: tuple[int, int, int]
    takes: str
    output: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    description: str
    data: "DataInput"
    direction: str | None = None


def model_name(text: str) -> str:
    """A name that MLflow takes for a model."""
    return re.sub(r"[/:.%\"']", "-", text)


def show_model(
    client: "MlflowClient",
    experiment_id: str,
    run_id: str,
    model: StudentModel,
    *,
    exact: bool = False,
) -> "LoggedModel":
    """The model of a run: there already, or made; may be repeated after a failure.

    All that are there are given the figures that their run has got since.

    Args:
        client: Of the MLflow that has the run.
        experiment_id: Of the run.
        run_id: The trial's run.
        model: The student.
        exact: Whether one of another program does not do, though it is of the same student.
    """
    from mlflow.entities import LoggedModelOutput

    program = {_PROGRAM_TAG: hashlib.sha256(model.program.read_bytes()).hexdigest()}
    there = _find(client, experiment_id, run_id, model)
    ready = [found for found in there if str(found.status) == _READY]
    for found in ready:
        _show_figures(client, run_id, found, model.data)
    for found in ready:
        if not exact or program.items() <= found.tags.items():
            return found
    begun = [found for found in there if found not in ready]
    if begun:
        found = begun[0]
        client.set_logged_model_tags(found.model_id, program)
    else:
        tags = {**_identity(run_id, model), **program, NOTE_TAG: model.description}
        found = client.create_logged_model(
            experiment_id,
            name=model.name,
            source_run_id=run_id,
            tags={**origin(), **model.tags, **tags},
            params={mlflow_name(k): v[:LONGEST_PARAM] for k, v in model.params.items()},
            model_type=MODEL_TYPE,
        )
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), model, run_id, found.model_id)
        client.log_model_artifacts(found.model_id, folder)
    if found.model_id not in _outputs(client, run_id):  # a database refuses the same a second time
        client.log_outputs(run_id, [LoggedModelOutput(found.model_id, step=0)])
    _show_figures(client, run_id, found, model.data)
    return client.finalize_logged_model(found.model_id, _READY)


def _identity(run_id: str, model: StudentModel) -> dict[str, str]:
    """The tags that a student's models alone have."""
    tags = {RUN_TAG: run_id, TAKES_TAG: model.takes}
    return tags if model.direction is None else {**tags, DIRECTION_TAG: model.direction}


def _find(
    client: "MlflowClient", experiment_id: str, run_id: str, model: StudentModel
) -> "list[LoggedModel]":
    words = [f"tags.`{tag}` = '{value}'" for tag, value in _identity(run_id, model).items()]
    return list(client.search_logged_models([experiment_id], " AND ".join(words)))


def _outputs(client: "MlflowClient", run_id: str) -> set[str]:
    """The models that a run is known to have made."""
    outputs = client.get_run(run_id).outputs
    return set() if outputs is None else {made.model_id for made in outputs.model_outputs}


def _show_figures(
    client: "MlflowClient", run_id: str, shown: "LoggedModel", data: "DataInput"
) -> None:
    """Give a model the final figures of its run that it lacks, or has otherwise.

    They are the very same points, so none is doubled.
    """
    from mlflow.entities import Metric

    had = {metric.key: metric.value for metric in sorted(shown.metrics or (), key=_order)}
    points = []
    for key, value in client.get_run(run_id).data.metrics.items():
        if not key.startswith(FINAL) or had.get(key) == value:
            continue
        last = max(client.get_metric_history(run_id, key), key=_order)
        points.append(
            Metric(
                key,
                last.value,
                last.timestamp,
                last.step,
                model_id=shown.model_id,
                dataset_name=data.name,
                dataset_digest=data.digest,
            )
        )
    if points:
        client.log_batch(run_id, points)


def _order(metric: "Metric") -> tuple[int, int, float]:
    """Of the values of a metric MLflow takes the last one by this."""
    return metric.step, metric.timestamp, metric.value


def write_folder(folder: Path, model: StudentModel, run_id: str, model_id: str) -> None:
    """Lay a model out as MLflow's PyTorch flavor does."""
    import shutil

    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.models.utils import _save_example
    from mlflow.types import Schema, TensorSpec
    from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv
    from yaml import safe_dump  # type: ignore[import-untyped]

    height, width, channels = model.shape
    images: tuple[int, ...] = (-1, channels, height, width)
    answer = images if model.output is None else (-1, model.output)
    signature = ModelSignature(
        # Without names, by which MLflow would hand a dictionary to a network.
        Schema([TensorSpec(np.dtype(model.takes), images)]),
        Schema([TensorSpec(np.dtype("float32"), answer)]),
    )
    described = Model(run_id=run_id, model_id=model_id, signature=signature)
    drawn = np.random.default_rng(0).integers(0, 256, (_EXAMPLES, *images[1:]))
    example = drawn.astype("uint8") if model.takes == "uint8" else (drawn / 255).astype("float32")
    _save_example(described, example, str(folder))
    (folder / "data").mkdir()
    shutil.copyfile(model.program, folder / "data" / "model.pt2")
    described.add_flavor("pytorch", model_data="data", pytorch_version=_torch_version(), code=None)
    pyfunc.add_to_model(
        described,
        loader_module="mlflow.pytorch",
        data="data",
        pickle_module_name="mlflow.pytorch.pickle_module",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config={"device": None},
    )
    described.model_size_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    needs = [f"torch=={version('torch').partition('+')[0]}"]
    described.save(str(folder / "MLmodel"))
    (folder / "requirements.txt").write_text("\n".join(needs) + "\n")
    conda = _mlflow_conda_env(additional_pip_deps=needs)  # type: ignore[no-untyped-call]
    (folder / "conda.yaml").write_text(safe_dump(conda, default_flow_style=False))
    python = _PythonEnv.current()  # type: ignore[no-untyped-call]
    python.to_yaml(str(folder / "python_env.yaml"))


def _torch_version() -> str:
    """As torch says it (`2.15.0+cu132`), by its file: to import it takes seconds."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(r"__version__ = '(.+)'", text)
    return version("torch") if found is None else found[1]


def register(client: "MlflowClient", shown: "LoggedModel", name: str, about: str) -> "ModelVersion":
    """The version of a registered model that a student is, made if it is none yet.

    Args:
        client: Of the MLflow that has the student.
        shown: The student, as `show_model` returns it.
        name: Of the registered model; made if it is not there.
        about: What the version is, in a line.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # By this tag the pages of the student lead to the registry.
    versions: list[dict[str, Any]] = json.loads(shown.tags.get(_VERSIONS_TAG, "[]"))
    for known in versions:
        if known["name"] == name:
            with contextlib.suppress(MlflowException):  # that version was deleted
                return client.get_model_version(name, known["version"])
    made = client.create_model_version(
        name,
        source=f"models:/{shown.model_id}",
        run_id=shown.source_run_id,
        model_id=shown.model_id,
        description=about,
    )
    versions.append({"name": made.name, "version": made.version})
    client.set_logged_model_tags(shown.model_id, {_VERSIONS_TAG: json.dumps(versions)})
    return made
