"""What tests of a study share: a made-up record, MLflow's databases, a Ray."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from cluster.connect import Cluster, connect, disconnect
from study.environment import worker_environment
from study.tracking.tracker import default_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

SAMPLE = Path(__file__).parents[1] / "analysis" / "sample_record.py"


@pytest.fixture(scope="module")
def sample() -> SimpleNamespace:
    """The functions of sample_record.py; loaded by path, as test folders are not packages."""
    return SimpleNamespace(**runpy.run_path(str(SAMPLE)))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that holds nothing yet: laying one out takes seconds."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("empty")
    MlflowClient(default_tracking_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests of a file: laying one out takes MLflow seconds."""
    return default_tracking_uri(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield connect(None, env=worker_environment(1), gpus=False)
    disconnect()
