"""The number format that a study trains in, by the default student of its space."""

from typing import TYPE_CHECKING

from search_spaces.space import SearchSpace
from study.task import task_of

if TYPE_CHECKING:
    import torch

    from study.distillation.precision import Precision


def resolve_for(
    space: SearchSpace,
    asked: str,
    classes: int,
    shape: tuple[int, int, int],
    device: "torch.device",
) -> "Precision":
    """Return the format for all students of a space, of which the default one is looked at.

    Args:
        space: The space, with ``--fix`` applied.
        asked: ``float32``, ``bfloat16`` or ``auto``.
        classes: Number of classes.
        shape: ``(h, w, c)`` of an image.
        device: Where students are trained.

    Raises:
        study.distillation.precision.PrecisionError: if the device would emulate what was asked for.
    """
    import torch

    from study.distillation.precision import resolve_precision

    if asked != "auto" or device.type != "cpu":
        return resolve_precision(asked, device)
    params = space.complete({})
    with torch.random.fork_rng(devices=()):
        student = space.build_student(params, classes, shape)
    work = task_of(space).work_a_layer(student, shape, int(params["batch_size"]))
    return resolve_precision(asked, device, work)
