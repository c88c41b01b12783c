"""Which network teaches: the one a space declares, unless the user chose another."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.formatting import score_text
from analysis.results import (
    ATTR_DEFAULT_STUDENT,
    ATTR_REFERENCE_POINT,
    ATTR_TEACHER,
    DefaultStudent,
    ReferencePoint,
    TeacherResult,
    Third,
)
from analysis.stored_plan import StoredPlan
from search_spaces.space import SearchSpace, TeacherChoice, Value
from study.plan import StudyPlan, recipe_of
from study.record import StudyRecord
from study.seed_points import teacher_values

if TYPE_CHECKING:
    from search_spaces.space import Score
    from study.distillation.teacher_recipe import TeacherRecipe

# A teacher that covers no more of the way from chance to perfection tells little.
_TELLS_LITTLE = 0.05
# Sides (px) of the images of data sets known by name; those of a folder are found on reading it.
_SIDES = {"digits": 32, "digits2x5": 32, "cifar10": 32, "mnist": 28, "mnist2x5": 28, "mhist": 224}


def teacher_recipe(plan: StudyPlan, space: SearchSpace, data_name: str) -> "TeacherRecipe":
    """Return the recipe of the study's teacher: the space's choice for the data, as overridden.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        data_name: The data set's name.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if the overrides do not fit together.
    """
    choice = space.teacher_for(data_name)
    varied = space.teacher_varies_with
    return recipe_of(
        choice,
        **{**network_overrides(plan, choice), **_start(plan.teacher_weights)},
        **({varied: space.parameter(varied).default} if varied else {}),
        epochs=plan.teacher_epochs or choice.epochs,
        score=space.score.name,
        statistics=plan.teacher_statistics,
    )


def _start(weights: str) -> dict[str, Any]:
    """The fields of a recipe that say what the teacher starts from.

    There is no sense in holding random weights as they are.
    """
    if weights == "imagenet":
        return {"weights": "imagenet"}
    return {"weights": None, "unfreeze": "all", "head_share": 0.0, "rate_after_head": 1.0}


def teacher_variants(
    plan: StudyPlan, space: SearchSpace, recipe: "TeacherRecipe"
) -> "dict[Value, TeacherRecipe]":
    """Return the recipe of every teacher that trials may ask, the study's own first.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        recipe: That of the study's own teacher.

    Returns:
        A recipe for each value of ``space.teacher_varies_with``; none where one serves all.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if a value does not fit a teacher.
    """
    values = teacher_values(space, plan.preset, plan.fixed)
    changes: list[dict[str, Any]] = [{str(space.teacher_varies_with): value} for value in values]
    return {value: replace(recipe, **change) for value, change in zip(values, changes, strict=True)}


def network_overrides(plan: StudyPlan, declared: TeacherChoice) -> dict[str, Any]:
    """Return the fields of the teacher's recipe in which the plan differs from the space's choice.

    A size that the space declares belongs to its own network, and so does a stage to unfreeze: all
    of another network learns where it has none of that name.
    """
    asked: dict[str, Any] = {}
    if plan.teacher_network not in (None, declared.network):
        asked = {"network": plan.teacher_network, "input_size": None}
        if declared.unfreeze == "layer4" and plan.teacher_network != "resnet":
            asked["unfreeze"] = "all"
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

    if not space.taught:
        return
    recipe = teacher_recipe(plan, space, data_name)
    side = known_side(plan)
    if side is not None:
        check_images(recipe, (side, side, 3))


def known_side(plan: StudyPlan) -> int | None:
    """Return the side (px) of the data's images; None where it is found on reading them."""
    return plan.image_size or _SIDES.get(plan.data)


def poor_teacher(teacher: TeacherResult, floor: float, score: "Score", *, own: bool) -> str | None:
    """Say that a teacher has hardly more to teach than chance, with the likely cause; or nothing.

    Args:
        teacher: Who teaches.
        floor: What an uninformed answer scores.
        score: Of the space.
        own: Whether its checkpoint was given.
    """
    if teacher.val_score > floor + _TELLS_LITTLE * (score.best - floor):
        return None
    reached, least = (score_text(each, score.unit) for each in (teacher.val_score, floor))
    mend = "train it longer (--teacher-epochs)"
    if own:
        mend = (
            "see that its outputs are the classes in the order of their folders' names, and that "
            "--teacher-statistics are those that it was trained with"
        )
    return (
        f"the teacher's validation {score.name} is {reached}, hardly more than the {least} of an "
        f"uninformed answer: {mend}"
    )


def note_compared_with(
    record: StudyRecord,
    compared: TeacherResult | DefaultStudent,
    stored: StoredPlan,
    third: Third | None,
) -> None:
    """Record whom students are compared with, and the point that fronts are measured from.

    Args:
        record: Written.
        compared: The teacher, or else the default student.
        stored: The plan as it is kept.
        third: What the study keeps small beside the latency, if anything.
    """
    taught = isinstance(compared, TeacherResult)
    # Last comes what says that all of it is there: latencies are told of both together.
    record.set_attribute(ATTR_TEACHER if taught else ATTR_DEFAULT_STUDENT, compared.to_json())
    point = ReferencePoint.of(compared, stored.data.floor_score, stored.space.score.best, third)
    record.set_attribute(ATTR_REFERENCE_POINT, point.to_json())
