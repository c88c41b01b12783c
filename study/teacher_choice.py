"""Which network teaches: the one a space declares, unless the user chose another."""

from typing import Any

from search_spaces.space import SearchSpace, TeacherChoice
from study.plan import StudyPlan

# Sides (px) of the images of data sets known by name; those of a folder are found on reading it.
_SIDES = {"digits": 32, "digits2x5": 32, "cifar10": 32, "mnist": 28, "mnist2x5": 28, "mhist": 224}


def network_overrides(plan: StudyPlan, declared: TeacherChoice) -> dict[str, Any]:
    """Return the fields of the teacher's recipe in which the plan differs from the space's choice.

    A size that the space declares belongs to its own network.
    """
    asked: dict[str, Any] = {}
    if plan.teacher_network not in (None, declared.network):
        asked = {"network": plan.teacher_network, "input_size": None}
    if plan.teacher_size is not None:
        asked["input_size"] = plan.teacher_size
    return asked


def check_teacher(plan: StudyPlan, space: SearchSpace, data_name: str) -> None:
    """Refuse a teacher that cannot be, or cannot see the data's images, before anything is read.

    Where nobody teaches there is nothing to refuse.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        data_name: The data set's name.

    Raises:
        study.distillation.teacher_recipe.TeacherError: naming the mend.
    """
    from study.distillation.teacher_recipe import check_images
    from study.preparation import teacher_recipe

    if not space.taught:
        return
    recipe = teacher_recipe(plan, space, data_name)
    side = known_side(plan)
    if side is not None:
        check_images(recipe, (side, side, 3))


def known_side(plan: StudyPlan) -> int | None:
    """Return the side (px) of the data's images; None where it is found on reading them."""
    return plan.image_size or _SIDES.get(plan.data)
