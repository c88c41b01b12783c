"""Plain convolutional students: which layers a configuration has, and what it does without."""

from typing import Any

import pytest
import torch

from search_spaces.cifar_cnn import SPACE
from search_spaces.networks.cnn import build
from search_spaces.space import configuration_key
from study.distillation.measurement import profile_model
from study.distillation.methods import Response
from study.distillation.methods import build as build_method
from study.distillation.methods.response import CrossEntropy

CIFAR = (32, 32, 3)


def numbered(params: dict[str, Any], prefix: str) -> list[str]:
    return [name for name in params if name.startswith(prefix)]


@pytest.mark.parametrize("convolutions", range(1, 7))
@pytest.mark.parametrize("dense", range(4))
def test_a_width_exists_only_for_a_layer_that_does(convolutions: int, dense: int) -> None:
    params = SPACE.complete({"convolutions": convolutions, "dense_layers": dense})

    assert len(numbered(params, "channels_")) == convolutions
    assert len(numbered(params, "units_")) == dense


@pytest.mark.parametrize(
    ("terms", "present", "kind"),
    [
        ("weighted", {"temperature", "alpha"}, Response),
        ("ce+kl", {"temperature"}, Response),
        ("ce", set(), CrossEntropy),
    ],
)
def test_temperature_and_alpha_exist_only_where_they_are_read(
    terms: str, present: set[str], kind: type
) -> None:
    params = SPACE.complete({"terms": terms})

    assert set(params) & {"temperature", "alpha"} == present
    assert isinstance(build_method(params), kind)


def test_a_student_has_the_layers_that_its_name_says() -> None:
    params = SPACE.complete({"convolutions": 2, "channels_2": 16, "dense_layers": 2, "units_2": 64})
    student = SPACE.build_student(params, 10, CIFAR)
    shapes = {name: tuple(tensor.shape) for name, tensor in student.named_parameters()}

    assert SPACE.describe(params) == "conv 32-16, dense 256-64"
    assert shapes["conv1.weight"] == (32, 3, 3, 3)
    assert shapes["conv2.weight"] == (16, 32, 3, 3)
    assert shapes["dense1.weight"] == (256, 16 * 4 * 4)
    assert shapes["dense2.weight"] == (64, 256)
    assert shapes["fc.weight"] == (10, 64)
    assert student(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_without_fully_connected_layers_the_last_reads_the_convolutions() -> None:
    params = SPACE.complete({"convolutions": 1, "dense_layers": 0})
    student = SPACE.build_student(params, 10, CIFAR)

    assert SPACE.describe(params) == "conv 32"
    assert [name for name, _ in student.named_parameters() if "weight" in name] == [
        "conv1.weight", "bn1.weight", "fc.weight",
    ]  # fmt: skip


def test_dropout_stands_before_each_fully_connected_layer_and_is_no_architecture() -> None:
    def student(dropout: float) -> torch.nn.Module:
        params = SPACE.complete({"dense_layers": 2, "dropout": dropout})
        network: torch.nn.Module = SPACE.build_student(params, 10, CIFAR)
        return network

    dropped = [m.p for m in student(0.5).modules() if isinstance(m, torch.nn.Dropout)]
    assert dropped == [0.5, 0.5, 0.5]
    assert student(0.0).state_dict().keys() == student(0.5).state_dict().keys()
    assert not SPACE.parameter("dropout").architecture


@pytest.mark.parametrize("side", [1, 3, 8, 28, 32, 50, 96])
@pytest.mark.parametrize("depth", [1, 6])
def test_images_of_every_size_are_answered_and_large_ones_cost_no_more_units(
    side: int, depth: int
) -> None:
    network = build((side, side, 1), [8] * depth, [16], 5).eval()

    assert network(torch.zeros(2, 1, side, side)).shape == (2, 5)
    (width,) = [t.shape[1] for name, t in network.named_parameters() if name == "dense1.weight"]
    assert width == 8 * min(side, 4) ** 2


def test_a_deeper_network_of_the_same_channels_computes_more() -> None:
    flops = [profile_model(build(CIFAR, [32] * depth, [], 10), CIFAR).flops_m for depth in (2, 4)]
    assert flops[0] < flops[1]


@pytest.mark.parametrize(("channels", "hidden"), [((), ()), ((0,), ()), ((8,), (0,))])
def test_a_network_without_convolutions_or_units_is_refused(
    channels: tuple[int, ...], hidden: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="at least 1 unit"):
        build(CIFAR, channels, hidden, 10)


def test_the_described_configurations_are_five_with_a_control_and_no_published_figure() -> None:
    rows = SPACE.presets["described"]
    whole = [SPACE.complete(row.params) for row in rows]

    assert len({configuration_key(params) for params in whole}) == len(rows) == 5
    assert [SPACE.is_control(params) for params in whole].count(True) == 1
    assert not any(row.published for row in rows)
    assert all(row.note and row.note.endswith("no figures are published") for row in rows)
    assert not SPACE.published
