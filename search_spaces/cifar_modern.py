"""Residual students under one teacher, taught by methods that came after softened outputs.

The students of ``cifar_blocks``; searched besides: the method and its own parameters. The preset
``recipes`` holds each method as its authors set it. Their accuracies are those of other networks
on CIFAR-100, and no table is put beside what is measured here.
"""

from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.parameters import searched_values
from search_spaces.residual_students import (
    ARCHITECTURE,
    DEFAULTS,
    RECIPE,
    TEACHERS,
    build_student,
    describe,
)
from search_spaces.space import Choice, Params, Preset, Range, SearchSpace, Value, When

_BLIND_TO_TWO_CLASSES = ("dkd", "dist", "logit_std")


def _only(*methods: Value) -> When:
    return When("method", methods)


def _weight(name: str, high: float, default: float, method: Value, help_text: str) -> Range:
    return Range(
        name, high / 40, high, help_text, log=True, default_value=default, when=_only(method)
    )


def _row(label: str, method: Value, note: str | None = None, **params: Value) -> Preset:
    # One schedule for all, the patient teacher's, so that one control is the twin of each.
    return Preset(label, {"method": method, "schedule": "cosine", **params}, note=note)


def refuses(space: SearchSpace, num_classes: int, shape: tuple[int, int, int]) -> str | None:
    """Refuse the methods that compare classes where there are but two."""
    tried = searched_values(space.parameter("method"))
    blind = [str(method) for method in tried if method in _BLIND_TO_TWO_CLASSES]
    if num_classes > 2 or not blind:
        return None
    names = " and ".join([", ".join(blind[:-1]), blind[-1]] if len(blind) > 1 else blind)
    signal = "have no signal" if len(blind) > 1 else "has no signal"
    return f"{names} {signal} with {num_classes} classes; add --fix method=response"


_DECOUPLED: Params = {"temperature": 4.0, "target_weight": 1.0, "non_target_weight": 8.0}

SPACE = SearchSpace(
    name="cifar_modern",
    title="Residual students, modern methods",
    description=(
        "A ResNet-50 teaches residual networks of few blocks by one of five methods: softened "
        "outputs, decoupled distillation (the labelled class apart from the others), DIST "
        "(correlations in place of probabilities), standardised logits, or a patient teacher that "
        "answers the very mixed images the student sees, without labels."
    ),
    parameters=(
        *ARCHITECTURE,
        Choice(
            "method",
            ("response", "dkd", "dist", "logit_std", "patient", "none"),
            "how the teacher is listened to; none is the control",
        ),
        temperature(_only("response", "dkd", "dist")),
        alpha(_only("response"), "weight of the softened outputs against the labels", default=0.9),
        _weight("target_weight", 4.0, 1.0, "dkd", "weight of the labelled class, alpha"),
        _weight("non_target_weight", 16.0, 8.0, "dkd", "weight of the other classes, beta"),
        Range(
            "warmup",
            0.0,
            0.5,
            "share of the epochs in which both weights rise",
            default_value=0.0,
            when=_only("dkd"),
        ),
        _weight("inter_weight", 8.0, 1.0, "dist", "weight of the relation of classes, beta"),
        _weight("intra_weight", 8.0, 1.0, "dist", "weight of the relation of images, gamma"),
        Range(
            "base_temperature",
            1.0,
            8.0,
            "softening of standardised outputs",
            log=True,
            default_value=2.0,
            when=_only("logit_std"),
        ),
        _weight("kd_weight", 18.0, 9.0, "logit_std", "weight of the standardised outputs"),
        _weight("ce_weight", 2.0, 0.1, "logit_std", "weight of the labels"),
        Range(
            "mixup",
            0.1,
            2.0,
            "Beta parameter of the mixing: 1 is uniform, less mixes less",
            log=True,
            default_value=1.0,
            when=_only("patient"),
        ),
        *RECIPE,
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "recipes": (
            _row("Control", "none"),
            _row("Softened outputs", "response", "T 4, alpha 0.9", temperature=4.0, alpha=0.9),
            _row("Decoupled", "dkd", "Zhao et al., 2022", **_DECOUPLED),
            _row(
                "Decoupled, warm-up",
                "dkd",
                "20 of 240 epochs, as published",
                **_DECOUPLED,
                warmup=1 / 12,
            ),
            _row(
                "DIST",
                "dist",
                "Huang et al., 2022",
                temperature=4.0,
                inter_weight=1.0,
                intra_weight=1.0,
            ),
            _row(
                "Standardised logits",
                "logit_std",
                "Sun et al., 2024",
                base_temperature=2.0,
                kd_weight=9.0,
                ce_weight=0.1,
            ),
            _row(
                "Patient teacher",
                "patient",
                "Beyer et al., 2022; they train ten times as long: raise --max-epochs",
                mixup=1.0,
            ),
        )
    },
    teachers=TEACHERS,
    defaults=DEFAULTS,
    teacher_asked="both",
    refuses=refuses,
)
