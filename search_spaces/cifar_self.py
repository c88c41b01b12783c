"""Residual students that teach themselves, and can be left at any of their stages.

After R. Chavhan's report "Knowledge Distillation", which follows Zhang et al., "Be Your Own
Teacher" (2019): a ResNet of four stages, each of the first three with an adapter and a classifier
of its own. One training yields five students: four exits, and the ensemble. Beside it stands what
the report compares on CIFAR, soft targets and hard ones, at every exit alike.
"""

from typing import TYPE_CHECKING

from search_spaces import residual_students
from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.residual_students import ARCHITECTURE, DEFAULTS, RECIPE, TEACHERS, spec_of
from search_spaces.space import Choice, Params, Preset, Range, SearchSpace, When

if TYPE_CHECKING:
    from torch import nn

_SOFTENED = When("method", ("self", "response"))


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the whole network, judged by the exit that ``params`` names."""
    from search_spaces.networks.multi_exit import MultiExit

    leave_at = params["exit"]
    assert isinstance(leave_at, int | str)
    return MultiExit(spec_of(params), num_classes, shape[2], leave_at)


def describe(params: Params) -> str:
    """Name the student by its trunk and its exit: ``[1,1,1,1] stride 2, exit 3``."""
    leave_at = params["exit"]
    named = leave_at if leave_at == "ensemble" else f"exit {leave_at}"
    return f"{residual_students.describe(params)}, {named}"


def _stage(number: int) -> Range:
    # An exit behind an empty stage would be the one before it.
    return Range(
        f"blocks_{number}",
        1,
        2,
        f"basic blocks in stage {number}",
        kind="int",
        default_value=1,
        architecture=True,
    )


SPACE = SearchSpace(
    name="cifar_self",
    title="Residual students of four exits, taught by themselves",
    description=(
        "A residual network of four stages with a classifier behind each: the deepest teaches the "
        "others by its answers and its feature map. Every exit, stripped of all that does not lead "
        "there, is a student of its own, and so is the ensemble. Beside it the same networks "
        "under a ResNet-50, by soft or hard answers at every exit. The report prints no accuracy "
        "on CIFAR, so no published figures stand beside those measured."
    ),
    parameters=(
        *(_stage(number) for number in range(1, 5)),
        *(item for item in ARCHITECTURE if not item.name.startswith("blocks_")),
        Choice(
            "exit",
            (1, 2, 3, 4, "ensemble"),
            "the exit a trial is judged by; the others come with its training",
            default_value=4,
            architecture=True,
        ),
        Choice(
            "method",
            ("self", "response", "targets", "none"),
            "who teaches every exit: the deepest one, a teacher's softened answers with the "
            "labels, a teacher's answers alone, or the labels alone (control)",
        ),
        Choice(
            "targets",
            ("hard", "soft"),
            "the teacher's likeliest class, or its answers as they are (T 1)",
            when=When("method", ("targets",)),
        ),
        temperature(_SOFTENED, "softening of both outputs; the report has none (1)", default=3.0),
        alpha(_SOFTENED, "weight of the distillation term against the labels", default=0.3),
        Range(
            "feature_weight",
            0.01,
            10.0,
            "weight of the distance to the deepest feature map, a mean over it",
            log=True,
            default_value=0.1,
            when=When("method", ("self",)),
        ),
        *RECIPE,
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "report": (
            Preset(
                "Self-distillation",
                {"method": "self", "temperature": 1.0},
                note="The report's loss has no temperature; its alpha and lambda are not stated.",
            ),
            Preset(
                "Soft targets",
                {"method": "response", "temperature": 4.0, "alpha": 0.5},
                note="A teacher's softened answers and the labels; T and alpha are not stated.",
            ),
            Preset(
                "Hard targets",
                {"method": "targets", "targets": "hard"},
                note="A teacher's likeliest class in place of the label.",
            ),
            Preset("Labels alone", {"method": "none"}, note="The same network and classifiers."),
        ),
    },
    teachers=TEACHERS,
    defaults=DEFAULTS,
)
