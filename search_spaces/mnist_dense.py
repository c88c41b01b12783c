"""Perceptrons of one hidden layer under one of two layers of 1,200 units, on MNIST.

After Gupta et al., "Exploring Knowledge Distillation": "adversarial" distillation, in which the
student learns from the teacher's outputs alone. Searched: width, what is learnt from, temperature,
epochs, batch size, learning rate and its schedule. The published rows are the preset ``paper``.
"""

from typing import TYPE_CHECKING

from search_spaces.distillation_parameters import alpha, temperature
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


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the perceptron of one hidden layer that ``params`` describes."""
    from search_spaces.networks.dense import build

    return build(shape, (int(params["hidden"]),), num_classes)


def describe(params: Params) -> str:
    """Name the student: ``300 units``."""
    return f"{params['hidden']} units"


def _row(
    hidden: int,
    temperature: float,
    epochs: int,
    batch_size: int,
    published: tuple[float, float, float],
) -> Preset:
    accuracy, seconds, ratio = published
    return Preset(
        f"{hidden} units, T {temperature:g}, {epochs} epochs, batch {batch_size}",
        {
            "hidden": hidden,
            "targets": "soft",
            "temperature": temperature,
            "epochs": epochs,
            "batch_size": batch_size,
        },
        {"score": accuracy, "train_seconds": seconds, "time_ratio": ratio},
    )


SPACE = SearchSpace(
    name="mnist_dense",
    title="Dense students of one hidden layer",
    description=(
        "A perceptron 784-1200-1200-10 teaches perceptrons of one hidden layer, by its softened "
        "answers alone, by those and the labels, or by the class it finds likeliest. The images "
        "are not augmented."
    ),
    parameters=(
        Range(
            "hidden",
            16,
            800,
            "units of the hidden layer",
            kind="int",
            log=True,
            default_value=300,
            architecture=True,
        ),
        Choice("method", ("targets",), "the student learns from the targets", searched=False),
        Choice(
            "targets",
            ("soft", "mixed", "hard", "labels"),
            "learnt from: the teacher's softened answers, (1-alpha)*CE + alpha*T^2*KL of labels "
            "and teacher, the teacher's likeliest class, or labels alone (control)",
        ),
        temperature(When("targets", ("soft", "mixed")), default=3.5),
        alpha(When("targets", ("mixed",)), "weight of the teacher"),
        Choice("epochs", (2, 3, 5), "passes over the training images", default_value=3),
        Choice("batch_size", (16, 32, 64), "images a step", default_value=32),
        Range("learning_rate", 3e-4, 1e-2, "peak learning rate", log=True, default_value=2e-3),
        Choice("schedule", ("onecycle", "constant"), "course of the learning rate"),
        Choice("optimizer", ("adam", "sgd"), "Adam, or SGD with momentum", searched=False),
    ),
    control={"targets": "labels"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            _row(50, 3.5, 3, 32, (95.97, 30.998, 315.332)),
            _row(300, 3.5, 3, 16, (97.24, 95.715, 138.753)),
            _row(300, 3.5, 3, 64, (97.12, 48.421, 129.564)),
            _row(300, 3.5, 2, 32, (96.17, 25.108, 126.174)),
            _row(300, 10, 3, 32, (96.87, 64.573, 123.326)),
            _row(300, 1, 3, 32, (96.98, 65.171, 123.264)),
            _row(300, 3.5, 3, 32, (97.26, 64.854, 119.127)),
            _row(300, 3.5, 5, 32, (97.23, 247.926, 116.654)),
            _row(600, 3.5, 3, 32, (97.21, 103.010, 38.005)),
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
            note=(
                "The published time ratios are not ratios of computation: the teacher multiplies "
                "60, 10 and 5 times as much as students of 50, 300 and 600 units, and at batch 1 "
                "the cost of a call itself narrows that. The published teacher reached 97.41 % in "
                "one epoch and took 1.339 ms; the one here is trained longer. The paper states "
                "neither optimiser nor learning rate."
            ),
        )
    },
    default_data="mnist",
    # The paper augments nothing; a perceptron has no use for crops that move every pixel.
    augment=False,
    teachers={
        "*": TeacherChoice(
            network="dense",
            hidden=(1200, 1200),
            epochs=6,
            batch_size=128,
            learning_rate=2e-3,
            optimizer="adam",
        ),
        "digits": TeacherChoice(
            network="dense",
            hidden=(128, 128),
            epochs=12,
            batch_size=32,
            learning_rate=2e-3,
            optimizer="adam",
            why="1,200 small images do not carry two layers of 1,200 units",
        ),
    },
    defaults={
        "*": Defaults(trials=24, max_epochs=5, views=1),
        "digits": Defaults(trials=16, max_epochs=5, views=1),
    },
)
