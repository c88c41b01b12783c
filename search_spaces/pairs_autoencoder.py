"""Two autoencoders between paired images, each of which teaches the other by its features.

After Chavhan, "Knowledge Distillation" (GNR638 course project), the experiment on paired CityScapes
images. Searched: which encoders copy which decoders, in one direction or both, what takes the one
row and column off the decoder's maps, alpha, base width, learning rate, batch size. The three
experiments are the preset `paper`; the document prints images of them, and no figures.
"""

from typing import TYPE_CHECKING

from search_spaces.space import (
    PSNR,
    Choice,
    Defaults,
    Params,
    Preset,
    PublishedColumn,
    PublishedTable,
    Range,
    SearchSpace,
    When,
)

if TYPE_CHECKING:
    from torch import nn

_CONNECTED = When("connections", ("1-4", "1-4+2-3"))


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build both autoencoders for images of `shape`; there are no classes."""
    from search_spaces.networks.autoencoder import TranslatorPair

    return TranslatorPair(shape[2], int(params["width"]))


def describe(params: Params) -> str:
    """Name an autoencoder by the channels of its encoders: `32-64-128-256`."""
    width = int(params["width"])
    return "-".join(str(width * 2**stage) for stage in range(4))


def refuses(space: SearchSpace, num_classes: int, shape: tuple[int, int, int]) -> str | None:
    """Say why images of `shape` cannot be encoded, or nothing."""
    from search_spaces.networks.autoencoder import size_problem

    return size_problem(shape[0], shape[1])


SPACE = SearchSpace(
    name="pairs_autoencoder",
    title="Autoencoders between paired images",
    description=(
        "Two autoencoders of one shape, X to Y and Y to X, learn together from paired images and "
        "teach each other: an encoder of the one and the decoder of that scale in the other are "
        "drawn to the same features. There is no other teacher. The score is the mean PSNR of the "
        "two directions; parameters, FLOPs and latency are those of one autoencoder."
    ),
    parameters=(
        Choice(
            "connections",
            ("1-4", "1-4+2-3", "none"),
            "encoders (X to Y) and decoders (Y to X) whose features are drawn together, or none "
            "(control)",
        ),
        Choice(
            "mirrored",
            (False, True),
            "whether the encoders of Y to X and the decoders of X to Y are, too",
            when=_CONNECTED,
        ),
        Choice(
            "adapter",
            ("maxpool", "conv"),
            "what takes one row and column off a decoder's features: 2x2 pooling of stride 1, or "
            "a learnt 2x2 convolution",
            when=_CONNECTED,
        ),
        Range(
            "alpha",
            0.01,
            0.9,
            "weight of the features; the images have the rest",
            log=True,
            default_value=0.1,
            when=_CONNECTED,
        ),
        Choice(
            "width",
            (8, 16, 32, 64),
            "channels of encoder 1; each further one has twice as many",
            default_value=16,
            architecture=True,
        ),
        Range("learning_rate", 2e-4, 1e-2, "peak learning rate", log=True, default_value=2e-3),
        Choice("batch_size", (8, 16, 32), "pairs a step", default_value=16),
        Choice("optimizer", ("adam", "sgd"), "Adam or SGD", searched=False),
        Choice(
            "schedule",
            ("onecycle", "cosine", "constant"),
            "course of the learning rate",
            searched=False,
        ),
    ),
    control={"connections": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            Preset(
                "1. Encoder 1 and decoder 4, max pool",
                {"connections": "1-4", "adapter": "maxpool"},
                note="Observed in experiment 1: images are blurry, Y to X is not proper, purple "
                "and pink are missing from X to Y.",
            ),
            Preset(
                "2. Encoders 1, 2 and decoders 4, 3, max pool",
                {"connections": "1-4+2-3", "adapter": "maxpool"},
                note="Observed in experiment 2: Y to X is worse than in the first, blurry and "
                "grainy.",
            ),
            Preset(
                "3. Encoder 1 and decoder 4, convolution",
                {"connections": "1-4", "adapter": "conv"},
                note="Observed in experiment 3: both directions are better than in the others, "
                "Y to X much sharper.",
            ),
        ),
    },
    published={
        "paper": PublishedTable(
            source="Chavhan: Knowledge Distillation (GNR638 course project), paired CityScapes",
            columns=(PublishedColumn("score", "PSNR", "dB"),),
            note=(
                "The document prints images and what was seen in them, no figures: to be expected "
                "is that experiment 3 is the best and 2 the worst. It states neither layers, "
                "widths, alpha, epochs nor image size; those here are this space's defaults. That "
                "images are compared by L1 and features by their mean square is a choice, too."
            ),
        )
    },
    default_data="digit_pairs",
    data_kind="pairs",
    teachers={},
    defaults={
        "*": Defaults(trials=24, max_epochs=60, views=16, image_size=64),
        "digit_pairs": Defaults(trials=16, max_epochs=9, views=1, image_size=32),
    },
    score=PSNR,
    refuses=refuses,
)
