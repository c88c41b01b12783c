"""What a study's runs learn from, as MLflow has it: a data set with its digest, and the teacher."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analysis.stored_plan import StoredPlan
from study.tracking.models import model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

TEACHER_TYPE: Final = "teacher"
_TEACHER_TAG: Final = "teacher_key"
_DIGEST_LETTERS: Final = 16  # MLflow takes 36, and shows them in a column
_READY: Final = "READY"


@dataclass(frozen=True)
class DataInput:
    """The data set of a study.

    Attributes:
        name: Short name.
        digest: Of the content of all its splits.
        source: Where it came from, for people.
        sizes: Images of each split, and what else there is to count.
    """

    name: str
    digest: str
    source: str
    sizes: Mapping[str, int]


def data_of(plan: StoredPlan) -> DataInput:
    """The data set that a plan names."""
    data = plan.data
    return DataInput(
        data.name,
        data.hash[:_DIGEST_LETTERS],
        data.source,
        {
            "train": data.student_train,
            "validation": data.validation,
            "test": data.test,
            "classes": len(data.classes),
        },
    )


def dataset_input(data: DataInput) -> "DatasetInput":
    """The data set as an input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    described = Dataset(
        name=data.name,
        digest=data.digest,
        source_type="code",
        source=json.dumps({"source": data.source}),
        profile=json.dumps(dict(data.sizes)),
    )
    return DatasetInput(described, [InputTag("mlflow.data.context", "training")])


def teacher_model(
    client: "MlflowClient", experiment_id: str, run_id: str, key: str, title: str
) -> str:
    """The id of a teacher as a model without files, made if it is not there."""
    words = f"tags.`{_TEACHER_TAG}` = '{key}'"
    there = client.search_logged_models([experiment_id], words, max_results=1)
    found = there[0] if there else None
    if found is None:
        found = client.create_logged_model(
            experiment_id,
            name=model_name(title),
            source_run_id=run_id,
            tags={_TEACHER_TAG: key, "mlflow.model.isExternal": "true"},
            model_type=TEACHER_TYPE,
        )
    if str(found.status) != _READY:
        client.finalize_logged_model(found.model_id, _READY)
    return str(found.model_id)
