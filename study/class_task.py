"""The task of naming the class of an image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.space import ACCURACY, WEIGHTED_F1, SearchSpace, SpaceError
from study.plan import PlanError, StudyPlan
from study.task import Tested

if TYPE_CHECKING:
    import numpy as np
    import torch

    from study.distillation.data import DataSummary
    from study.distillation.feasibility import Networks
    from study.distillation.fused import FusedTraining
    from study.distillation.image_data import ImageData
    from study.distillation.methods import Method
    from study.distillation.precision import Precision
    from study.distillation.trainer import EpochTrainer
    from study.distillation.training import TeacherSource, TrainingData, TrainingSettings
    from study.task import Data
    from study.trial_context import TrialContext


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
        summary = describe(plan.data, plan.data_folder)
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
        *,
        download: bool = True,
    ) -> "ImageData":
        """Read it."""
        from study.distillation.data import load

        return load(
            plan.data,
            plan.data_folder,
            cache_dir=cache_dir,
            image_size=plan.image_size,
            augment=space.augment,
            progress=progress,
            download=download,
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
        """Refuse methods that cannot work with the networks, and students that cannot be."""
        from study.distillation.feasibility import check_methods, check_students

        configurations = tuple(configurations)
        check_students(configurations, networks)
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

    def work_a_layer(
        self, student: "torch.nn.Module", shape: tuple[int, int, int], batch_size: int
    ) -> float:
        """Count it in the student as it is trained."""
        from study.distillation.measurement import work_a_layer

        return work_a_layer(student, shape, batch_size)

    def measured(self, student: "torch.nn.Module") -> "torch.nn.Module":
        """Return what is shipped of the student, whole."""
        from study.distillation.deployment import deployed

        return deployed(student)

    def trainer(
        self,
        student: "torch.nn.Module",
        params: Mapping[str, Any],
        context: "TrialContext",
        epochs: int,
    ) -> "EpochTrainer":
        """Return a trainer for the method that the parameters ask for."""
        from study.distillation.training import StudentTrainer
        from study.student import device_of

        settings = _settings(student, params, context, epochs)
        return StudentTrainer(student, *_lesson(params, context), settings, device_of(context))

    def to_fuse(
        self,
        students: "Sequence[torch.nn.Module]",
        params: Mapping[str, Any],
        contexts: "Sequence[TrialContext]",
        epochs: int,
    ) -> "FusedTraining":
        """Return it; whether method and students have a fused form is seen when it begins."""
        from study.distillation.fused import FusedTraining
        from study.student import device_of

        runs = zip(students, contexts, strict=True)
        settings = [_settings(student, params, context, epochs) for student, context in runs]
        lesson, device = _lesson(params, contexts[0]), device_of(contexts[0])
        return FusedTraining(students, *lesson, settings, device)

    def test(self, student: "torch.nn.Module", context: "TrialContext") -> Tested:
        """Score a student by the space's score."""
        from study.distillation.evaluation import evaluate
        from study.student import device_of

        data = class_data(context.data)
        _, score = evaluate(
            student,
            data.test,
            data.mean,
            data.std,
            device_of(context),
            classes=data.num_classes,
            by=context.space.score.name,
        )
        return Tested(score)


def _lesson(
    params: Mapping[str, Any], context: "TrialContext"
) -> "tuple[Method, TrainingData, TeacherSource | None]":
    """Return what a student is taught by a method, from which data, and who answers for it."""
    from study.distillation import methods

    asked = {**params, "classes": context.data.num_classes}
    method = methods.build(asked, context.space.methods)
    source = teacher_source(context, method, params) if method.needs_teacher else None
    return method, training_data(context, float(params.get("train_share", 1.0))), source


def _settings(
    student: "torch.nn.Module", params: Mapping[str, Any], context: "TrialContext", epochs: int
) -> "TrainingSettings":
    """Return how long and how fast a student learns; it is given the weights it begins with."""
    from study.student import training_settings
    from study.student_weights import take_over_weights

    take_over_weights(student, context.space, params, context.data.shape[2])
    return training_settings(context, params, epochs)


def training_data(context: "TrialContext", share: float) -> "TrainingData":
    """Return the data a student is trained on: all of the train split, or the rows of a share."""
    from study.distillation.data import Split
    from study.distillation.training import TrainingData

    data = class_data(context.data)
    rows = context.reduced_rows.get(share)
    if rows is None and share < 1:
        raise ValueError(
            f"no rows are known for train_share {share:g}; declare it as a Choice of shares"
        )
    train = data.train if rows is None else Split(data.train.images[rows], data.train.labels[rows])
    return TrainingData(
        train,
        data.validation,
        data.mean,
        data.std,
        data.augmentation,
        rows,
        classes=data.num_classes,
        score=context.space.score.name,
    )


def teacher_source(
    context: "TrialContext", method: "Method", params: Mapping[str, Any]
) -> "TeacherSource":
    """Return what answers for a trial's teacher: its outputs, computed ahead, or its network."""
    from study.distillation.training import CachedTeacher, LiveTeacher, WholeTable
    from study.student import device_of
    from study.trial_teacher import teacher_network

    device = device_of(context)
    teacher = context.teacher_of(params)
    if teacher.outputs is not None and not method.needs_network:
        if context.views is None:
            augmentation = class_data(context.data).augmentation
            return WholeTable(teacher.outputs, augmentation, context.seed, device)
        return CachedTeacher(teacher.outputs, device)
    if teacher.weights is None:
        raise ValueError(
            f"the method {method.name} asks the teacher's network, and only its answers are here"
        )
    network = teacher_network(teacher, context.data, context.folder).to(device)
    data = class_data(context.data)
    mean, std = teacher.recipe.normalization(data.mean, data.std)
    return LiveTeacher(network, mean, std, device, teacher.precision)


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
