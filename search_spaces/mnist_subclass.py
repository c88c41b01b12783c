"""Perceptrons under a small convolutional network, by classes or by subclasses that it invents.

After Sun, "Knowledge Distillation for Building Lightweight Deep Learning Models in Visual
Classification Tasks", MNIST part, and Müller, Kornblith, Hinton, "Subclass Distillation" (2020).
Searched: the method, subclasses a class, temperature and alpha, width and dropout of the student,
learning rate and batch size. MNIST-2x5, the data of the published rows, is MNIST with two classes,
0 to 4 and 5 to 9.
"""

from typing import TYPE_CHECKING

from search_spaces.distillation_parameters import SUBCLASS_METHODS
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
)

if TYPE_CHECKING:
    from torch import nn


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the perceptron that ``params`` describes: two hidden layers of one width.

    With ``subclasses`` it answers as many logits a class, a block of columns for each.
    """
    from search_spaces.networks.dense import build

    width = int(params["width"])
    outputs = num_classes * int(params.get("subclasses", 1))
    return build(shape, (width, width), outputs, dropout=float(params["dropout"]))


def describe(params: Params) -> str:
    """Name the student: ``784-784``, and the subclasses of a class where it has some."""
    text = f"{params['width']}-{params['width']}"
    count = params.get("subclasses")
    return text if count is None else f"{text}, {count} subclasses a class"


SPACE = SearchSpace(
    name="mnist_subclass",
    title="Perceptrons, conventional and subclass distillation",
    description=(
        "A network of two convolutions teaches perceptrons of two hidden layers: by its softened "
        "classes, or by subclasses into which it divides each class, unlabelled, while it learns. "
        "The paper's student has more parameters than its teacher, and fewer FLOPs."
    ),
    parameters=(
        *SUBCLASS_METHODS,
        Choice(
            "width",
            (98, 196, 392, 784),
            "units of each hidden layer",
            default_value=784,
            architecture=True,
        ),
        Choice("dropout", (0.0, 0.2, 0.5), "share of hidden units dropped while training"),
        Range("learning_rate", 1e-4, 1e-2, "peak learning rate", log=True, default_value=1e-3),
        Choice("batch_size", (64, 128, 256), "images a step", default_value=256),
        Choice("optimizer", ("adam", "sgd"), "Adam, as in the paper, or SGD", searched=False),
        Choice(
            "schedule",
            ("constant", "cosine", "onecycle"),
            "course of the learning rate",
            searched=False,
        ),
        Choice("weight_decay", (0.0, 5e-4), "weight decay; the paper has none", searched=False),
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            Preset("Scratch", {"method": "none"}, {"score": 98.53}),
            Preset(
                "Conventional distillation",
                {"method": "response", "temperature": 4.0, "alpha": 0.5},
                {"score": 98.72},
                "Taught by the class logits of the study's own teacher.",
            ),
            Preset(
                "Subclass distillation",
                {"method": "subclass", "subclasses": 5, "temperature": 4.0, "alpha": 0.5},
                {"score": 99.01},
                "The number of subclasses is not printed: five a class, one for each digit that "
                "was merged into it.",
            ),
        ),
    },
    published={
        "paper": PublishedTable(
            source="Müller, Kornblith, Hinton: Subclass Distillation (2020), MNIST-2x5",
            columns=(PublishedColumn("score", "accuracy", "%"),),
            note="The published teacher reaches 99.35 %.",
        )
    },
    preset_data={"paper": "mnist2x5"},
    default_data="mnist",
    augment=False,
    teachers={
        "*": TeacherChoice(
            network="mnist_cnn",
            epochs=12,
            batch_size=256,
            learning_rate=1e-3,
            weight_decay=0.0,
            optimizer="adam",
            schedule="constant",
            subclasses=2,
        ),
        **dict.fromkeys(
            ("digits", "digits2x5"),
            TeacherChoice(
                network="mnist_cnn",
                epochs=12,
                batch_size=128,
                learning_rate=2e-3,
                weight_decay=0.0,
                optimizer="adam",
                schedule="constant",
                subclasses=2,
                why="1,200 images make few batches of 256",
            ),
        ),
    },
    teacher_varies_with="subclasses",
    defaults={
        "*": Defaults(trials=24, max_epochs=12, views=1),
        **dict.fromkeys(("digits", "digits2x5"), Defaults(trials=16, max_epochs=9, views=1)),
    },
)
