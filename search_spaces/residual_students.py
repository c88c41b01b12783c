"""Residual students of few blocks: what the spaces that search them have in common."""

from typing import TYPE_CHECKING

from search_spaces.space import Choice, Defaults, Params, Range, TeacherChoice

if TYPE_CHECKING:
    from torch import nn

    from search_spaces.networks.resnet import ResidualSpec


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the residual network that ``params`` describes."""
    from search_spaces.networks.resnet import build

    return build(spec_of(params), num_classes, shape[2])


def spec_of(params: Params) -> "ResidualSpec":
    """Return what the network of ``params`` is built from."""
    from search_spaces.networks.resnet import ResidualSpec

    return ResidualSpec(
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


def describe(params: Params) -> str:
    """Name the student: ``[1,1,1,1] stride 2``; width and stem only where they are unusual."""
    blocks = ",".join(str(params[f"blocks_{stage}"]) for stage in range(1, 5))
    text = f"[{blocks}] stride {params['stem_stride']}"
    if params["width"] != 64:
        text += f" width {params['width']}"
    return text + (" cifar stem" if params["stem"] == "cifar" else "")


def blocks_of(stage: int, low: int) -> Range:
    """Return the parameter that counts a stage's blocks: ``low`` to 2."""
    return Range(
        f"blocks_{stage}",
        low,
        2,
        f"basic blocks in stage {stage}",
        kind="int",
        default_value=1,
        architecture=True,
    )


STEM_AND_WIDTH: tuple[Choice, ...] = (
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
)

# All stages but the first may be empty.
ARCHITECTURE: tuple[Choice | Range, ...] = (
    blocks_of(1, low=1),
    *(blocks_of(stage, low=0) for stage in (2, 3, 4)),
    *STEM_AND_WIDTH,
)

RECIPE = (
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
)

TEACHERS = {
    "*": TeacherChoice(),
    "digits": TeacherChoice(
        depths=(2, 2, 2, 2),
        epochs=12,
        batch_size=64,
        why="1,200 small images do not carry a ResNet-50",
    ),
}

DEFAULTS = {
    "*": Defaults(trials=24, max_epochs=30, views=8),
    "digits": Defaults(trials=16, max_epochs=9, views=8),
}
