"""The number formats of a study: its students', by the default one, and each teacher's."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.space import SearchSpace
from study.task import task_of

if TYPE_CHECKING:
    import torch

    from study.distillation.precision import Precision
    from study.distillation.teacher_recipe import TeacherRecipe

Shape = tuple[int, int, int]


def precision_of_students(
    space: SearchSpace, asked: str, classes: int, shape: Shape, device: "torch.device"
) -> "Precision":
    """Return the format for all students of a space, of which the default one is looked at.

    It is built without numbers. Where it cannot be, on these images or at all, others may be: the
    format is then float32.

    Args:
        space: The space, with ``--fix`` applied.
        asked: ``float32``, ``bfloat16`` or ``auto``.
        classes: Number of classes.
        shape: ``(h, w, c)`` of an image.
        device: Where students are trained.

    Raises:
        study.distillation.precision.PrecisionError: if the device would emulate what was asked for.
    """

    def work() -> float:
        params = space.complete({})
        student = space.build_student(params, classes, shape)
        return task_of(space).work_a_layer(student, shape, int(params["batch_size"]))

    return _resolved(asked, device, work)


def precision_of_teacher(
    recipe: "TeacherRecipe", asked: str, classes: int, shape: Shape, device: "torch.device"
) -> "Precision":
    """Return the format in which a teacher is trained and answers.

    Args:
        recipe: Its network and batch.
        asked: ``float32``, ``bfloat16`` or ``auto``.
        classes: Number of classes.
        shape: ``(h, w, c)`` of an image.
        device: Where it is.

    Raises:
        study.distillation.precision.PrecisionError: if the device would emulate what was asked for.
    """

    def work() -> float:
        from study.distillation.measurement import work_a_layer
        from study.distillation.teacher_network import build_network

        return work_a_layer(build_network(recipe, classes, shape), shape, recipe.batch_size)

    return _resolved(asked, device, work)


def _resolved(asked: str, device: "torch.device", work: Callable[[], float]) -> "Precision":
    import torch

    from study.distillation.precision import resolve_precision

    def counted() -> float:
        try:
            # Without numbers: a network may take much memory to build, and trials alone bear that.
            with torch.random.fork_rng(devices=()), torch.device("meta"):
                return work()
        except Exception:
            # What is wrong with the network is said by whoever needs it.
            return 0.0

    return resolve_precision(asked, device, counted)
