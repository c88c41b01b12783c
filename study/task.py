"""What a study asks of students: a task, and the one place that chooses it by the kind of data.

Classes are to be recognised, or images to be translated. Everything that depends on which it is,
is asked of the task; all else in the service (searching, stopping, confirming) is the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from analysis.results import Figure
from search_spaces.space import SearchSpace
from study.plan import StudyPlan

if TYPE_CHECKING:
    import torch

    from study.distillation.data import DataSummary
    from study.distillation.feasibility import Networks
    from study.distillation.fused import FusedTraining
    from study.distillation.image_data import ImageData
    from study.distillation.pair_data import PairData, PairSummary
    from study.distillation.precision import Precision
    from study.distillation.trainer import EpochTrainer
    from study.trial_context import TrialContext

    Data: TypeAlias = ImageData | PairData
    Summary: TypeAlias = DataSummary | PairSummary


@dataclass(frozen=True)
class Tested:
    """What a finished student reaches on the test split: its score, and further figures."""

    score: float
    figures: tuple[Figure, ...] = ()


class Task(Protocol):
    """What is asked of students, and what that means for data, training and scoring."""

    def describe(self, plan: StudyPlan) -> "Summary":
        """Say what data the plan names, without decoding an image or importing torch.

        Raises:
            DataError: if there are none of the task's kind.
            PlanError: if the plan asks of them what they do not have.
        """
        ...

    def load(
        self,
        plan: StudyPlan,
        space: SearchSpace,
        cache_dir: Path,
        progress: Callable[[str, int, int], None],
        *,
        download: bool = True,
    ) -> "Data":
        """Read the data that the plan names; what is not there is fetched if it may be.

        Raises:
            DataError: if they cannot be had.
        """
        ...

    def floor_score(self, space: SearchSpace, data: "Data") -> float:
        """Return the score of an answer that has learnt nothing of the images.

        Raises:
            SpaceError: if the space has a score whose floor is not known.
        """
        ...

    def check_methods(
        self, configurations: Iterable[tuple[str, Mapping[str, Any]]], networks: "Networks"
    ) -> None:
        """Refuse configurations that no training can follow; runs on a worker.

        Raises:
            InfeasibleError: for the first of them.
        """
        ...

    def step_seconds(
        self,
        student: "torch.nn.Module",
        shape: tuple[int, int, int],
        classes: int,
        batch_size: int,
        device: "torch.device",
        precision: "Precision",
    ) -> float:
        """Time a training step, in seconds an image or a pair."""
        ...

    def work_a_layer(
        self, student: "torch.nn.Module", shape: tuple[int, int, int], batch_size: int
    ) -> float:
        """Count what a layer computes in a training step, forward, in MFLOPs."""
        ...

    def measured(self, student: "torch.nn.Module") -> "torch.nn.Module":
        """Return the part of a student whose size and latency count."""
        ...

    def trainer(
        self,
        student: "torch.nn.Module",
        params: Mapping[str, Any],
        context: "TrialContext",
        epochs: int,
    ) -> "EpochTrainer":
        """Return who trains a student as a trial's parameters say."""
        ...

    def to_fuse(
        self,
        students: "Sequence[torch.nn.Module]",
        params: Mapping[str, Any],
        contexts: "Sequence[TrialContext]",
        epochs: int,
    ) -> "FusedTraining":
        """Return what trains several runs of one configuration as one, each as its context says.

        Raises:
            study.distillation.stack.CannotFuse: if they have to be trained one by one.
        """
        ...

    def test(self, student: "torch.nn.Module", context: "TrialContext") -> Tested:
        """Score a finished student on the test split."""
        ...


def task_of(space: SearchSpace) -> Task:
    """Return the task of a space's students: that of the kind of data it learns from."""
    from study.class_task import ClassTask
    from study.pair_task import PairTask

    tasks: Mapping[str, Task] = {"classes": ClassTask(), "pairs": PairTask()}
    return tasks[space.data_kind]
