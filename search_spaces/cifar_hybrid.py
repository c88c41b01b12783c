"""Residual students that learn a ResNet-50's answers and its feature maps.

After Krishnasamy Karthikeyan, "Knowledge Distillation on Neural networks": hybrid (response and
feature) distillation on CIFAR-10. Searched: the student as in ``cifar_blocks``, but for empty
stages (the taps need all four), the method, temperature and alpha with their schedules, weight and
taps of the feature term, learning rate. The published rows are the preset ``paper``.
"""

from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.residual_students import (
    DEFAULTS,
    STEM_AND_WIDTH,
    TEACHERS,
    blocks_of,
    build_student,
    describe,
)
from search_spaces.space import (
    Choice,
    Parameter,
    Params,
    Preset,
    PublishedColumn,
    PublishedTable,
    Range,
    SearchSpace,
    When,
)

_TAUGHT = When("method", ("hybrid", "response"))
_HYBRID = When("method", ("hybrid",))


def _course(name: str, what: str) -> tuple[Parameter, ...]:
    """The schedule of a number: it only falls, so no decay can lead away from its end."""
    schedule = f"{name}_schedule"
    return (
        Choice(
            schedule,
            ("fixed", "exponential", "linear", "cosine"),
            f"course of the {what} over the epochs",
            when=_TAUGHT,
        ),
        Range(
            f"{name}_end_factor",
            0.25,
            1.0,
            f"where the {what} ends, as a share of where it starts",
            default_value=0.6,
            when=When(schedule, ("exponential", "linear", "cosine")),
        ),
        Range(
            f"{name}_decay",
            0.8,
            0.99,
            "factor from one epoch to the next, until the end is reached",
            default_value=0.95,
            when=When(schedule, ("exponential",)),
        ),
    )


def _row(
    label: str, params: Params, published: tuple[float, float, float], note: str | None = None
) -> Preset:
    resnet_18 = {f"blocks_{stage}": 2 for stage in range(1, 5)}
    columns = ("score", "params_m", "latency_ms")
    return Preset(label, {**resnet_18, **params}, dict(zip(columns, published, strict=True)), note)


SPACE = SearchSpace(
    name="cifar_hybrid",
    title="Residual students, answers and feature maps",
    description=(
        "A ResNet-50 teaches residual networks of one or two basic blocks in each of four stages "
        "by its softened outputs and by its feature maps, which 1x1 convolutions bring to one "
        "width. Temperature and alpha may fall during the training."
    ),
    parameters=(
        *(blocks_of(stage, low=1) for stage in range(1, 5)),
        *STEM_AND_WIDTH,
        Choice(
            "method",
            ("hybrid", "response", "none"),
            "answers and feature maps, answers alone, or the labels alone (control)",
        ),
        temperature(
            _TAUGHT, "softening of both outputs (below 1: sharpening), at the start", low=0.3
        ),
        *_course("temperature", "temperature"),
        alpha(_TAUGHT, "weight of the distillation term, at the start"),
        *_course("alpha", "weight"),
        Range(
            "feature_weight",
            0.01,
            1.0,
            "weight of the feature term",
            log=True,
            default_value=0.1,
            when=_HYBRID,
        ),
        Choice(
            "taps",
            ("layer1+layer2+layer3+layer4", "layer3+layer4", "layer4"),
            "stages whose feature maps are compared",
            when=_HYBRID,
        ),
        Choice(
            "projector",
            ("student-to-teacher", "teacher-to-student"),
            "whose feature maps are projected to the width of the other's",
            when=_HYBRID,
        ),
        Range("learning_rate", 0.005, 0.2, "peak learning rate", log=True, default_value=0.05),
        Choice("schedule", ("onecycle", "cosine"), "course of the learning rate"),
        Choice("batch_size", (64, 128), "images a step"),
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            _row(
                "ResNet-18 distilled, tuned",
                {
                    "temperature": 0.5,
                    "temperature_schedule": "exponential",
                    "temperature_end_factor": 0.6,
                    "temperature_decay": 0.95,
                    "alpha": 0.8,
                    "alpha_schedule": "exponential",
                    "alpha_end_factor": 0.625,
                    "alpha_decay": 0.95,
                },
                (78.6, 11.18, 3.90),
                "T 0.5 to 0.3 and alpha 0.8 to 0.5, times 0.95 an epoch: the document gives three "
                "numbers each (0.5, 0.3, 0.95), read as start, floor and decay.",
            ),
            _row(
                "ResNet-18 distilled",
                {"temperature": 0.5, "alpha": 0.7},
                (76.8, 11.18, 4.10),
                "T 0.5 and alpha 0.7, fixed.",
            ),
            _row("ResNet-18 without KD", {"method": "none"}, (75.06, 11.18, 4.70)),
        ),
    },
    published={
        "paper": PublishedTable(
            source="Krishnasamy Karthikeyan: Knowledge Distillation on Neural networks",
            columns=(
                PublishedColumn("score", "accuracy", "%"),
                PublishedColumn("params_m", "parameters", "M"),
                PublishedColumn("latency_ms", "latency", "ms"),
            ),
            note=(
                "The teacher there, ResNet-50: 85.11 %, 23.5 M parameters, 8.72 ms. Epochs, batch "
                "size, learning rate and device are not stated; the data are given as 5,000 "
                "training images, which may be those of each class. 11.18 M parameters are those "
                "of the ImageNet stem. The three students are one architecture, so their published "
                "latencies differ by chance. The text has the teacher's maps projected to the "
                "student's width, the code the student's to the teacher's: so they are here."
            ),
        )
    },
    teachers=TEACHERS,
    defaults=DEFAULTS,
    teacher_asked="both",
)
