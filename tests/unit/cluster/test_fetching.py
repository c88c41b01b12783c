"""What comes of a task, told as if it had been done here."""

import pytest
import ray
from ray.exceptions import (
    GetTimeoutError,
    RayError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

from cluster.connect import ClusterError
from cluster.fetching import fetch


class Outcome:
    """Stands for Ray's object store, which holds one object, or an error of Ray's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcome: object = None
        self.timeout: float | None = None
        monkeypatch.setattr(ray, "get", self._get)

    def _get(self, reference: object, timeout: float | None = None) -> object:
        assert reference == "reference"
        self.timeout = timeout
        if isinstance(self.outcome, RayError):
            raise self.outcome
        return self.outcome


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Outcome:
    return Outcome(monkeypatch)


def test_an_object_is_fetched(stored: Outcome) -> None:
    stored.outcome = [1, 2]
    assert fetch("reference") == [1, 2]
    assert stored.timeout is None


def test_what_is_not_there_in_time_is_given_up(stored: Outcome) -> None:
    stored.outcome = GetTimeoutError("not in time")
    with pytest.raises(GetTimeoutError):
        fetch("reference", timeout=2.5)
    assert stored.timeout == 2.5


def test_an_error_of_a_worker_is_raised_as_itself(stored: Outcome) -> None:
    mine = ValueError("no such network")
    stored.outcome = RayTaskError("task", "its traceback", mine)
    with pytest.raises(ValueError, match=r"^no such network$") as raised:
        fetch("reference")
    assert raised.value is mine
    assert raised.value.__cause__ is stored.outcome


def test_a_module_that_a_node_lacks_is_named_with_the_mend(stored: Outcome) -> None:
    text = "could not be read\nModuleNotFoundError: No module named 'study'\nmore"
    stored.outcome = RaySystemError(text)
    with pytest.raises(ClusterError, match="no module 'study'; install this package on every node"):
        fetch("reference")


@pytest.mark.parametrize("error", [RaySystemError("out of ports"), WorkerCrashedError()])
def test_other_errors_of_ray_stay_as_they_are(stored: Outcome, error: RayError) -> None:
    stored.outcome = error
    with pytest.raises(type(error)) as raised:
        fetch("reference")
    assert raised.value is error
