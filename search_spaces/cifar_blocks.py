"""Residual students of few blocks under a ResNet-50.

After Gupta et al., "Exploring Knowledge Distillation": response distillation on CIFAR-10.
Searched: basic blocks per stage, stride of the stem, width, loss terms, temperature and alpha,
learning rate and its schedule. The published rows are the preset ``paper``.
"""

from typing import TYPE_CHECKING

from search_spaces.space import (
    Choice,
    Defaults,
    Params,
    Preset,
    PublishedColumn,
    PublishedTable,
    Range,
    SearchSpace,
    TeacherChoice,
    When,
)

if TYPE_CHECKING:
    from torch import nn

_DISTILLED = When("terms", ("weighted", "ce+kl"))


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the residual network that ``params`` describes."""
    from search_spaces.networks.resnet import ResidualSpec, build

    spec = ResidualSpec(
        blocks=(
            int(params["blocks_1"]),
            int(params["blocks_2"]),
            int(params["blocks_3"]),
            int(params["blocks_4"]),
        ),
        stem="cifar" if params["stem"] == "cifar" else "imagenet",
        stem_stride=int(params["stem_stride"]),
        width=int(params["width"]),
    )
    return build(spec, num_classes, shape[2])


def describe(params: Params) -> str:
    """Name the student: ``[1,1,1,1] stride 2``; width and stem only where they are unusual."""
    blocks = ",".join(str(params[f"blocks_{stage}"]) for stage in range(1, 5))
    text = f"[{blocks}] stride {params['stem_stride']}"
    if params["width"] != 64:
        text += f" width {params['width']}"
    return text + (" cifar stem" if params["stem"] == "cifar" else "")


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


def _blocks(stage: int, low: int) -> Range:
    return Range(
        f"blocks_{stage}",
        low,
        2,
        f"basic blocks in stage {stage}",
        kind="int",
        default_value=1,
        architecture=True,
    )


_REDUCED = "A tenth of the study's training images for each class (the paper's first 500 of 5,000)."

SPACE = SearchSpace(
    name="cifar_blocks",
    title="Residual students, blocks per stage",
    description=(
        "A ResNet-50 teaches residual networks of zero to two basic blocks in each of four stages "
        "by its softened outputs. A stage without blocks is left out: it neither downsamples nor "
        "widens."
    ),
    parameters=(
        _blocks(1, low=1),
        _blocks(2, low=0),
        _blocks(3, low=0),
        _blocks(4, low=0),
        Choice(
            "stem_stride",
            (1, 2, 4),
            "stride of the stem convolution",
            default_value=2,
            architecture=True,
        ),
        Choice("width", (16, 32, 64), "channels of stage 1", default_value=64, architecture=True),
        Choice(
            "stem",
            ("imagenet", "cifar"),
            "7x7 convolution and pooling, or a 3x3 convolution (slower, more accurate at 32 px)",
            architecture=True,
            searched=False,
        ),
        Choice(
            "terms",
            ("weighted", "ce+kl", "ce"),
            "loss: (1-alpha)*CE + alpha*T^2*KL, the paper's CE + T^2*KL, or CE alone (control)",
        ),
        Range(
            "temperature",
            1.0,
            20.0,
            "softening of both outputs",
            log=True,
            default_value=4.0,
            when=_DISTILLED,
        ),
        Range(
            "alpha",
            0.1,
            0.95,
            "weight of the distillation term",
            default_value=0.5,
            when=When("terms", ("weighted",)),
        ),
        Range("learning_rate", 0.005, 0.2, "peak learning rate", log=True, default_value=0.05),
        Choice("schedule", ("onecycle", "cosine"), "course of the learning rate"),
        Choice("batch_size", (64, 128), "images a step"),
        Choice(
            "train_share",
            (0.1, 1.0),
            "share of the training images used",
            default_value=1.0,
            searched=False,
        ),
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
    teachers={
        "*": TeacherChoice(),
        "digits": TeacherChoice(
            depths=(2, 2, 2, 2),
            epochs=12,
            batch_size=64,
            why="1,200 small images do not carry a ResNet-50",
        ),
    },
    defaults={
        "*": Defaults(trials=24, max_epochs=30, views=8),
        "digits": Defaults(trials=16, max_epochs=9, views=8),
    },
)
