"""What students begin with, where their space offers ImageNet weights: found, and taken over."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.space import IMAGENET, WEIGHTS, SearchSpace
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.seed_points import seed_points

if TYPE_CHECKING:
    from torch import nn

_INSTEAD = f"start the students from random weights with --fix {WEIGHTS}=none"


def begins_pretrained(space: SearchSpace, params: Mapping[str, Any]) -> bool:
    """Whether the student of these parameters begins with ImageNet weights."""
    return space.pretrained is not None and params.get(WEIGHTS) == IMAGENET


def check_student_weights(plan: StudyPlan, space: SearchSpace, progress: Progress) -> None:
    """Make sure that the weights are here, or can be downloaded, where any student asks for them.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        progress: Shows that they are fetched.

    Raises:
        PlanError: naming the ways out.
    """
    seeds = (seed.params for seed in seed_points(space, plan.preset, plan.fixed))
    if not any(begins_pretrained(space, params) for params in (*seeds, *space.samples())):
        return
    from study.distillation.pretrained import PretrainedError, imagenet_state

    # Whoever lacks the one mostly lacks the other: say both before the user has asked twice.
    teacher = ", the teacher with --teacher-weights none"
    instead = _INSTEAD + teacher * (plan.teacher_weights == "imagenet")
    with progress.phase("students' ImageNet weights"):
        try:
            imagenet_state(str(space.pretrained), instead)
        except PretrainedError as error:
            raise PlanError(f"students: {error}") from None


def take_over_weights(
    student: "nn.Module", space: SearchSpace, params: Mapping[str, Any], channels: int
) -> None:
    """Give a new student the weights that its parameters ask for.

    Raises:
        study.distillation.pretrained.PretrainedError: if they cannot be had on this machine.
    """
    from study.distillation.pretrained import take_over

    if begins_pretrained(space, params):
        take_over(student, str(space.pretrained), _INSTEAD, channels)
