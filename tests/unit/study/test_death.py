"""Why a worker is gone, from what Ray says of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import ray.cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from study.death import Death, LostToMemory, UnfitWorker, death_of, error_of


@pytest.mark.parametrize(
    ("error", "death"),
    [
        (ActorDiedError(), Death("its worker died", retry=True)),
        (ActorUnavailableError("for now", None), Death("its worker died", retry=True)),
        (
            LostToMemory("1 worker(s) were killed due to the node running low on memory."),
            Death("out of memory: Ray ended its worker to save the node", retry=False),
        ),
        (
            RuntimeError("a long account\n\n  ObjectLostError: gone\n"),
            Death("its worker died: ObjectLostError: gone", retry=True),
        ),
        (RuntimeError(), Death("its worker died: RuntimeError", retry=True)),
        (None, Death("its worker died", retry=True)),
    ],
)
def test_a_death_is_told_in_one_line(error: Exception | None, death: Death) -> None:
    assert death_of(error) == death


@pytest.mark.parametrize("whole_node", [True, False])
def test_an_unfit_worker_is_told_of_in_its_own_words_with_its_node(whole_node: bool) -> None:
    raised = UnfitWorker("its node has another processor", whole_node, "a1b2")
    told = RayTaskError("step", "a long\naccount", raised).as_instanceof_cause()
    death = Death("its node has another processor", True, "a1b2", whole_node)

    assert death_of(raised) == death
    assert death_of(told) == death
    assert death_of(ray.cloudpickle.loads(ray.cloudpickle.dumps(told))) == death


@dataclass
class RayTrial:
    """What is read of a trial of Ray's."""

    pickled_error_file: str | None
    told: Exception | None = None

    def get_error(self) -> Exception | None:
        return self.told


def test_the_error_that_ray_has_on_this_machine_is_taken_first(tmp_path: Path) -> None:
    kept = tmp_path / "error.pkl"
    kept.write_bytes(ray.cloudpickle.dumps(LostToMemory("low on memory")))

    assert isinstance(error_of(RayTrial(str(kept), RuntimeError())), LostToMemory)
    assert str(error_of(RayTrial(str(kept)))) == "low on memory"


@pytest.mark.parametrize("missing", [None, "/nowhere/error.pkl"])
def test_without_that_file_what_ray_tells_is_taken(missing: str | None) -> None:
    told = RuntimeError("told")

    assert error_of(RayTrial(missing, told)) is told
