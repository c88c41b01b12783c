"""Residual students of few blocks under a ResNet-50.

After Gupta et al., "Exploring Knowledge Distillation": response distillation on CIFAR-10.
Searched: basic blocks per stage, stride of the stem, width, loss terms, temperature and alpha,
learning rate and its schedule. The published rows are the preset ``paper``.
"""

from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.residual_students import (
    ARCHITECTURE,
    DEFAULTS,
    RECIPE,
    TEACHERS,
    build_student,
    describe,
)
from search_spaces.space import (
    Choice,
    Params,
    Preset,
    PublishedColumn,
    PublishedTable,
    SearchSpace,
    When,
)

_DISTILLED = When("terms", ("weighted", "ce+kl"))


def _row(
    label: str,
    blocks: tuple[int, int, int, int],
    stride: int,
    published: tuple[float, float, float],
    *,
    distilled: bool = True,
    train_share: float = 1.0,
    note: str | None = None,
) -> Preset:
    stages = {f"blocks_{stage}": count for stage, count in enumerate(blocks, start=1)}
    terms: Params = {"terms": "ce+kl", "temperature": 1.0} if distilled else {"terms": "ce"}
    accuracy, seconds, ratio = published
    return Preset(
        label,
        {**stages, "stem_stride": stride, "train_share": train_share, **terms},
        {"score": accuracy, "train_seconds": seconds, "time_ratio": ratio},
        note,
    )


_REDUCED = (
    "The first 500 training images of each class of CIFAR-10 that are not held out (a tenth of the "
    "class, as in the paper); the teacher keeps them all."
)

SPACE = SearchSpace(
    name="cifar_blocks",
    title="Residual students, blocks per stage",
    description=(
        "A ResNet-50 teaches residual networks of zero to two basic blocks in each of four stages "
        "by its softened outputs. A stage without blocks is left out: it neither downsamples nor "
        "widens."
    ),
    parameters=(
        *ARCHITECTURE,
        Choice(
            "terms",
            ("weighted", "ce+kl", "ce"),
            "loss: (1-alpha)*CE + alpha*T^2*KL, the paper's CE + T^2*KL, or CE alone (control)",
        ),
        temperature(_DISTILLED),
        alpha(When("terms", ("weighted",))),
        *RECIPE,
    ),
    control={"terms": "ce"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            _row("Baseline", (2, 2, 2, 2), 1, (79.3, 400, 6.58)),
            _row("[1,1,1,1]", (1, 1, 1, 1), 1, (79.1, 275, 8.53)),
            _row("[2,2,0,0]", (2, 2, 0, 0), 1, (78.6, 370, 7.81)),
            _row("[1,1,0,0]", (1, 1, 0, 0), 1, (79.4, 340, 9.85)),
            _row("[1,1,1,1], stride 2", (1, 1, 1, 1), 2, (77.6, 280, 11.60), note="The ideal."),
            _row("[1,1,1,1], stride 4", (1, 1, 1, 1), 4, (79.9, 405, 9.94)),
            _row("Ideal, no KD loss", (1, 1, 1, 1), 2, (75.8, 330, 10.84), distilled=False),
            _row(
                "Ideal, reduced train set",
                (1, 1, 1, 1),
                2,
                (61.2, 60, 10.33),
                train_share=0.1,
                note=_REDUCED,
            ),
            _row(
                "Ideal, reduced, no KD loss",
                (1, 1, 1, 1),
                2,
                (56.0, 60, 9.79),
                distilled=False,
                train_share=0.1,
                note=_REDUCED,
            ),
        ),
    },
    published={
        "paper": PublishedTable(
            source="Gupta, Khetarpaul, Venkateswaran, Vundavilli: Exploring Knowledge Distillation",
            columns=(
                PublishedColumn("score", "accuracy", "%"),
                PublishedColumn("train_seconds", "training", "s"),
                PublishedColumn("time_ratio", "inference-time ratio", "x"),
            ),
        )
    },
    teachers=TEACHERS,
    defaults=DEFAULTS,
)
