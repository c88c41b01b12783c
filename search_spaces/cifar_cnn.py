"""Plain convolutional students of any shape under a ResNet-50 or an Inception-v3.

After Daru et al., "Offline Response-based Knowledge Distillation in Convolutional Neural Networks":
CIFAR-10, both losses at once. Searched: convolutions and the channels of each, fully connected
layers and the units of each, dropout, loss, temperature and alpha, epochs, learning rate and its
schedule, batch size. The document prints no results: its plans are the preset ``described``.
"""

from typing import TYPE_CHECKING

from search_spaces.distillation_parameters import alpha, temperature
from search_spaces.space import (
    Choice,
    Defaults,
    Params,
    Preset,
    Range,
    SearchSpace,
    TeacherChoice,
    Value,
    When,
)

if TYPE_CHECKING:
    from torch import nn

_MOST_CONVOLUTIONS, _MOST_DENSE = 6, 3
_DEFAULT_CHANNELS = (32, 64, 128, 128, 128, 128)
_UNPUBLISHED = "no figures are published"


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the plain network that ``params`` describes."""
    from search_spaces.networks.cnn import build

    channels, units = _layers(params)
    return build(shape, channels, units, num_classes, dropout=float(params["dropout"]))


def describe(params: Params) -> str:
    """Name the student: ``conv 32-64-128, dense 256``; layers before the last, which all have."""
    channels, units = ["-".join(map(str, layers)) for layers in _layers(params)]
    return f"conv {channels}" + (f", dense {units}" if units else "")


def _layers(params: Params) -> tuple[list[int], list[int]]:
    """Channels of each convolution, and units of each fully connected layer before the last."""
    return (
        [int(params[f"channels_{n}"]) for n in range(1, int(params["convolutions"]) + 1)],
        [int(params[f"units_{n}"]) for n in range(1, int(params["dense_layers"]) + 1)],
    )


def _from(number: int, most: int) -> tuple[int, ...]:
    return tuple(range(number, most + 1))


def _channels(number: int) -> Choice:
    return Choice(
        f"channels_{number}",
        (16, 32, 64, 128, 256),
        f"channels of convolution {number}",
        default_value=_DEFAULT_CHANNELS[number - 1],
        architecture=True,
        when=When("convolutions", _from(number, _MOST_CONVOLUTIONS)) if number > 1 else None,
    )


def _units(number: int) -> Choice:
    return Choice(
        f"units_{number}",
        (64, 128, 256, 512),
        f"units of fully connected layer {number}",
        default_value=256,
        architecture=True,
        when=When("dense_layers", _from(number, _MOST_DENSE)),
    )


def _row(label: str, note: str, **params: Value) -> Preset:
    return Preset(label, params, note=f"{note}; {_UNPUBLISHED}")


SPACE = SearchSpace(
    name="cifar_cnn",
    title="Plain convolutional students",
    description=(
        "A ResNet-50, or with --teacher-network inception an Inception-v3, teaches plain "
        "convolutional networks by its softened outputs: one to six convolutions, none to three "
        "fully connected layers before the last, each of a width of its own."
    ),
    parameters=(
        Range(
            "convolutions",
            1,
            _MOST_CONVOLUTIONS,
            "3x3 convolutions, pooled while the map is large enough",
            kind="int",
            default_value=3,
            architecture=True,
        ),
        *(_channels(number) for number in range(1, _MOST_CONVOLUTIONS + 1)),
        Range(
            "dense_layers",
            0,
            _MOST_DENSE,
            "fully connected layers before the last",
            kind="int",
            default_value=1,
            architecture=True,
        ),
        *(_units(number) for number in range(1, _MOST_DENSE + 1)),
        Choice(
            "dropout",
            (0.0, 0.2, 0.5),
            "share of units dropped before each fully connected layer",
            default_value=0.2,
        ),
        Choice(
            "terms",
            ("weighted", "ce+kl", "ce"),
            "loss: (1-alpha)*CE + alpha*T^2*KL, the plain sum CE + T^2*KL, or CE alone (control)",
        ),
        temperature(When("terms", ("weighted", "ce+kl"))),
        alpha(When("terms", ("weighted",))),
        Choice("epochs", (5, 10, 20, 30), "passes over the training images", default_value=20),
        Range("learning_rate", 0.005, 0.2, "peak learning rate", log=True, default_value=0.05),
        Choice("schedule", ("onecycle", "cosine"), "course of the learning rate"),
        Choice("batch_size", (64, 128), "images a step"),
    ),
    control={"terms": "ce"},
    build_student=build_student,
    describe=describe,
    presets={
        "described": (
            _row(
                "Both losses",
                "CE and KL divergence of the outputs, added; no temperature is named",
                terms="ce+kl",
                temperature=1.0,
            ),
            _row(
                "Both losses, softened",
                "the same divergence as in its reference, Hinton et al., at T 4 and alpha 0.5",
                terms="weighted",
                temperature=4.0,
                alpha=0.5,
            ),
            _row("Labels alone", "what both are compared with", terms="ce"),
            _row(
                "Convolutions alone",
                "one of the combinations of layers to be explored: none is fully connected but "
                "the last",
                terms="ce+kl",
                temperature=1.0,
                convolutions=4,
                dense_layers=0,
            ),
            _row(
                "Two fully connected layers",
                "another: few convolutions",
                terms="ce+kl",
                temperature=1.0,
                convolutions=2,
                dense_layers=2,
            ),
        ),
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
        "*": Defaults(trials=32, max_epochs=30, views=8),
        "digits": Defaults(trials=16, max_epochs=30, views=8),
    },
)
