"""The task of naming the class of an image."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.space import ACCURACY, WEIGHTED_F1, SearchSpace, SpaceError
from study.plan import PlanError, StudyPlan
from study.task import Tested, Trainer

if TYPE_CHECKING:
    import numpy as np
    import torch

    from study.distillation.data import DataSummary
    from study.distillation.feasibility import Networks
    from study.distillation.image_data import ImageData
    from study.distillation.precision import Precision
    from study.task import Data
    from study.trial import TrialContext


class ClassTask:
    """Images with labels; a student answers a logit for each class."""

    def describe(self, plan: StudyPlan) -> "DataSummary":
        """Say what image folder or published data set the plan names."""
        from study.distillation import pair_data
        from study.distillation.data import describe

        if plan.data in pair_data.NAMES:
            raise PlanError(
                f"--data {plan.data}: these are pairs of images without classes, and space "
                f"{plan.space} learns classes; choose --space pairs_autoencoder, or --data digits"
            )
        summary = describe(plan.data, Path(plan.data_dir) if plan.data_dir else None)
        asked, smallest = plan.train_per_class, summary.smallest_class
        if asked is not None and asked > smallest:
            raise PlanError(
                f"--train-per-class {asked}: the smallest class of {summary.name} has {smallest} "
                f"images to train on; give {smallest} or fewer"
            )
        return summary

    def load(
        self,
        plan: StudyPlan,
        space: SearchSpace,
        cache_dir: Path,
        progress: Callable[[str, int, int], None],
    ) -> "ImageData":
        """Read it."""
        from study.distillation.data import load

        return load(
            plan.data,
            Path(plan.data_dir) if plan.data_dir else None,
            cache_dir=cache_dir,
            image_size=plan.image_size,
            augment=space.augment,
            progress=progress,
        )

    def floor_score(self, space: SearchSpace, data: "Data") -> float:
        """Return the score of an answer that has learnt nothing of the images.

        Of accuracy it is chance: one class of all. Weighted F1 weighs the classes by their size, so
        its floor is the score of always naming the class that the validation split has most of.
        """
        if space.score == ACCURACY:
            return 100 / data.num_classes
        if space.score == WEIGHTED_F1:
            return _majority_f1(class_data(data).validation.labels)
        raise SpaceError(
            f"space {space.name}: no floor is known of the score {space.score.name}; "
            f"use {ACCURACY.name} or {WEIGHTED_F1.name}"
        )

    def check_methods(
        self, configurations: Iterable[tuple[str, Mapping[str, Any]]], networks: "Networks"
    ) -> None:
        """Refuse methods that cannot work with the networks."""
        from study.distillation.feasibility import check_methods

        check_methods(configurations, networks)

    def step_seconds(
        self,
        student: "torch.nn.Module",
        shape: tuple[int, int, int],
        classes: int,
        batch_size: int,
        device: "torch.device",
        precision: "Precision",
    ) -> float:
        """Time a step of undistilled training."""
        from study.distillation.estimate import training_step_seconds

        return training_step_seconds(
            student, shape, classes, batch_size, device, precision=precision
        )

    def measured(self, student: "torch.nn.Module") -> "torch.nn.Module":
        """Return the student, whole."""
        return student

    def trainer(
        self,
        student: "torch.nn.Module",
        params: Mapping[str, Any],
        context: "TrialContext",
        epochs: int,
    ) -> Trainer:
        """Return a trainer for the method that the parameters ask for."""
        from study.distillation import methods
        from study.distillation.training import StudentTrainer
        from study.trial import device_of, teacher_source, training_data, training_settings

        method = methods.build({**params, "classes": context.data.num_classes})
        source = teacher_source(context, method, params) if method.needs_teacher else None
        data = training_data(context, float(params.get("train_share", 1.0)))
        settings = training_settings(context, params, epochs)
        return StudentTrainer(student, method, data, source, settings, device_of(context))

    def test(self, student: "torch.nn.Module", context: "TrialContext") -> Tested:
        """Score a student by its accuracy."""
        from study.distillation.evaluation import evaluate
        from study.trial import device_of

        data = class_data(context.data)
        _, accuracy = evaluate(
            student, data.test, data.mean, data.std, device_of(context), classes=data.num_classes
        )
        return Tested(accuracy)


def class_data(data: "Data") -> "ImageData":
    """Return `data` as images with labels, where the space says that they are."""
    from study.distillation.image_data import ImageData

    if not isinstance(data, ImageData):
        raise TypeError(f"{data.name} has no classes")
    return data


def _majority_f1(labels: "np.ndarray[Any, Any]") -> float:
    """Return the weighted F1 (%) of always naming the most frequent of ``labels``.

    That class has precision p, its share, and recall 1, so an F1 of 2p / (1 + p), which counts p
    times; the F1 of all others is 0.
    """
    import numpy as np

    share = float(np.bincount(labels).max()) / len(labels)
    return 100 * share * 2 * share / (1 + share)
