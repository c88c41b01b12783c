"""Residual students of few blocks, shipped in eight bits.

After Gupta et al., "Exploring Knowledge Distillation": a high precision teacher, quantised on its
feature maps, transfers its knowledge to a quantised student. The students of ``cifar_blocks``;
searched besides: their precision, when rounding begins and ranges stop, and the weight of the
feature term. The same student in float32 is in reach, so that a front shows what int8 is worth.
"""

import importlib.util
from typing import TYPE_CHECKING

from search_spaces import residual_students
from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.residual_students import ARCHITECTURE, DEFAULTS, RECIPE, TEACHERS
from search_spaces.space import Choice, Params, Preset, Range, SearchSpace, When

if TYPE_CHECKING:
    from torch import nn

_INT8 = When("precision", ("int8",))
_TAUGHT = When("method", ("quantized",))


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the residual network that ``params`` describes, with fake quantisers for int8."""
    student = residual_students.build_student(params, num_classes, shape)
    if params["precision"] == "float32":
        return student
    from search_spaces.networks.quantized import quantized

    start, freeze = float(params["qat_start"]), float(params["qat_freeze"])
    return quantized(student, shape, start=start, freeze=freeze)


def describe(params: Params) -> str:
    """Name the student as in ``cifar_blocks``, with its precision."""
    return f"{residual_students.describe(params)} {params['precision']}"


def refuses(space: SearchSpace, num_classes: int, shape: tuple[int, int, int]) -> str | None:
    """Refuse int8 students where what quantises them is not installed."""
    if "int8" not in space.drawn_values("precision") or importlib.util.find_spec("torchao"):
        return None
    return (
        "its int8 students need torchao, which is not installed: "
        "pip install '.[quantize]', or add --fix precision=float32"
    )


def _pair(label: str, blocks: tuple[int, int, int, int], stride: int) -> tuple[Preset, Preset]:
    student: Params = {
        **{f"blocks_{stage}": count for stage, count in enumerate(blocks, start=1)},
        "stem_stride": stride,
    }
    return (
        Preset(f"{label}, int8", {**student, "precision": "int8"}),
        Preset(f"{label}, float32", {**student, "precision": "float32"}),
    )


SPACE = SearchSpace(
    name="cifar_quantized",
    title="Residual students, quantised to int8",
    description=(
        "A ResNet-50 teaches residual networks of few blocks by its softened outputs and by its "
        "feature maps, rounded to eight bits. The students are trained with their own rounding "
        "(quantisation-aware, by torchao) and converted: size and latency are those of the int8 "
        "network on the processor's integer kernels, and so is the accuracy on the test split."
    ),
    parameters=(
        *ARCHITECTURE,
        Choice(
            "precision",
            ("int8", "float32"),
            "number format of what is shipped; float32 is the same student, not quantised",
            architecture=True,
        ),
        Range(
            "qat_start",
            0.0,
            0.75,
            "share of the epochs after which rounding begins",
            default_value=0.25,
            when=_INT8,
        ),
        Range(
            "qat_freeze",
            0.0,
            0.4,
            "share of the epochs, the last ones, in which the ranges of rounding stand still",
            default_value=0.2,
            when=_INT8,
        ),
        Choice(
            "method",
            ("quantized", "none"),
            "answers and rounded feature maps, or the labels alone (control)",
        ),
        temperature(_TAUGHT),
        alpha(_TAUGHT, "weight of the softened outputs against the labels"),
        Range(
            "feature_weight",
            0.001,
            1.0,
            "weight of the feature term",
            log=True,
            default_value=0.1,
            when=_TAUGHT,
        ),
        Choice(
            "taps",
            ("layer1+layer2+layer3+layer4", "layer3+layer4", "layer4"),
            "stages whose feature maps are compared; of one without blocks, what went into it",
            when=_TAUGHT,
        ),
        *RECIPE,
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "pairs": (
            *_pair("Baseline", (2, 2, 2, 2), 1),
            *_pair("[1,1,0,0]", (1, 1, 0, 0), 1),
            *_pair("Ideal", (1, 1, 1, 1), 2),
        )
    },
    teachers=TEACHERS,
    defaults=DEFAULTS,
    teacher_asked="both",
    cpu_only=_INT8,
    refuses=refuses,
)
