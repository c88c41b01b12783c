from dataclasses import replace

import pytest
import torch

from search_spaces.mnist_dense import SPACE
from search_spaces.space import Params, configuration_key
from study.distillation.methods import Response, build
from study.distillation.methods.response import CrossEntropy
from study.distillation.methods.targets import HardLabels
from study.distillation.teacher_network import build_network
from study.distillation.teacher_recipe import TeacherRecipe

MNIST = (28, 28, 1)


def recipe(data: str) -> TeacherRecipe:
    choice = vars(SPACE.teacher_for(data))
    return TeacherRecipe(**{name: value for name, value in choice.items() if name != "why"})


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_teacher_of_mnist_is_the_published_one_and_that_of_digits_is_smaller() -> None:
    assert parameters(build_network(recipe("mnist"), 10, MNIST)) == 2_395_210
    assert recipe("digits").hidden == (128, 128)
    assert SPACE.teacher_for("digits").why


@pytest.mark.parametrize("hidden", [16, 300, 800])
def test_a_student_has_one_hidden_layer_of_the_width_asked_for(hidden: int) -> None:
    params = SPACE.complete({"hidden": hidden})
    student = SPACE.build_student(params, 10, MNIST)

    assert parameters(student) == 784 * hidden + hidden + 10 * hidden + 10
    assert student(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert SPACE.describe(params) == f"{hidden} units"


@pytest.mark.parametrize(
    ("targets", "present"),
    [
        ("soft", {"temperature"}),
        ("mixed", {"temperature", "alpha"}),
        ("hard", set()),
        ("labels", set()),
    ],
)
def test_temperature_and_alpha_exist_only_where_they_are_read(
    targets: str, present: set[str]
) -> None:
    assert set(SPACE.complete({"targets": targets})) & {"temperature", "alpha"} == present


@pytest.mark.parametrize(
    ("targets", "kind"),
    [("soft", Response), ("mixed", Response), ("hard", HardLabels), ("labels", CrossEntropy)],
)
def test_every_choice_of_targets_is_a_method(targets: str, kind: type) -> None:
    assert isinstance(build(SPACE.complete({"targets": targets})), kind)


def test_the_published_rows_are_nine_students_taught_by_softened_answers_alone() -> None:
    rows = SPACE.presets["paper"]
    whole = [SPACE.complete(row.params) for row in rows]

    assert len({configuration_key(params) for params in whole}) == len(rows) == 9
    assert not any(SPACE.is_control(params) for params in whole)
    assert all("alpha" not in params for params in whole)
    assert rows[0].label == "50 units, T 3.5, 3 epochs, batch 32"
    for row, params in zip(rows, whole, strict=True):
        assert row.label == (
            f"{params['hidden']} units, T {params['temperature']:g}, "
            f"{params['epochs']} epochs, batch {params['batch_size']}"
        )
    published = {row.label: tuple(row.published.values()) for row in rows}
    assert published["300 units, T 10, 3 epochs, batch 32"] == (96.87, 64.573, 123.326)
    assert published["600 units, T 3.5, 3 epochs, batch 32"] == (97.21, 103.010, 38.005)


def test_the_control_of_the_default_is_that_of_a_published_row() -> None:
    row: Params = next(r.params for r in SPACE.presets["paper"] if r.label.startswith("300 units"))
    default = SPACE.complete({})

    assert SPACE.complete({**row, "batch_size": 32}) == default
    assert SPACE.control_of(default)["targets"] == "labels"


def test_whether_images_are_augmented_is_part_of_what_a_space_is() -> None:
    assert not SPACE.augment
    assert SPACE.defaults_for("mnist").views == SPACE.defaults_for("digits").views == 1
    assert replace(SPACE, augment=True).to_json()["hash"] != SPACE.to_json()["hash"]
