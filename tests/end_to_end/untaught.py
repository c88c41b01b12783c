"""A search space without a teacher: widths of a perceptron, each against its twin with dropout."""

from typing import Any

from search_spaces.networks.dense import build
from search_spaces.space import Choice, Defaults, Params, SearchSpace


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> Any:
    return build(shape, (int(params["width"]),), num_classes, dropout=float(params["dropout"]))


SPACE = SearchSpace(
    name="untaught",
    title="Perceptrons that learn alone",
    description="Nobody teaches them.",
    parameters=(
        Choice("method", ("none",), "nobody teaches", searched=False),
        Choice("width", (32, 64, 256), "hidden units", default_value=64, architecture=True),
        Choice("dropout", (0.1, 0.0), "share of hidden units dropped"),
        Choice("batch_size", (64,), "images a step", searched=False),
        Choice("learning_rate", (0.05,), "peak learning rate", searched=False),
    ),
    control={"dropout": 0.0},
    build_student=build_student,
    describe=lambda params: f"{params['width']} units",
    default_data="digits",
    augment=False,
    teachers={},
    defaults={"*": Defaults(trials=4, max_epochs=3, views=1)},
)
