"""The autoencoders between paired images, and the space that searches them."""

import pytest
import torch

from search_spaces.networks.autoencoder import Autoencoder, TranslatorPair, size_problem
from search_spaces.pairs_autoencoder import SPACE
from study.distillation.methods import cross_domain


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (256, 256)])
def test_decoder_j_makes_maps_like_encoder_5_minus_j_one_row_and_column_larger(
    height: int, width: int
) -> None:
    network = Autoencoder(3, 4).eval()

    stages = network.stages(torch.zeros(1, 3, height, width))

    assert len(stages.encoded) == len(stages.decoded) == 4
    for level, (encoded, decoded) in enumerate(
        zip(stages.encoded, reversed(stages.decoded), strict=True), start=1
    ):
        channels = 4 * 2 ** (level - 1)
        high, wide = height // 2**level, width // 2**level
        assert encoded.shape == (1, channels, high, wide)
        assert decoded.shape == (1, channels, high + 1, wide + 1)


def test_an_image_is_answered_by_one_of_its_size_between_minus_1_and_1() -> None:
    torch.manual_seed(0)
    images = 10 * torch.randn(2, 1, 64, 32)

    answer = Autoencoder(1, 4)(images)

    assert answer.shape == images.shape
    assert answer.abs().max() <= 1


def test_both_directions_have_one_shape_and_weights_of_their_own() -> None:
    torch.manual_seed(0)
    pair = TranslatorPair(3, 4)

    one, other = pair.x_to_y.state_dict(), pair.y_to_x.state_dict()

    assert {name: value.shape for name, value in one.items()} == {
        name: value.shape for name, value in other.items()
    }
    assert not torch.equal(one["encoders.0.0.weight"], other["encoders.0.0.weight"])
    assert pair.one_direction() is pair.x_to_y
    whole = sum(parameter.numel() for parameter in pair.parameters())
    assert whole == 2 * sum(parameter.numel() for parameter in pair.one_direction().parameters())


def test_a_pair_translates_each_image_by_the_network_of_its_direction() -> None:
    torch.manual_seed(0)
    pair = TranslatorPair(3, 4).eval()
    x, y = torch.randn(2, 2, 3, 32, 32)

    to_y, to_x = pair(x, y)

    assert torch.equal(to_y.output, pair.x_to_y(x))
    assert torch.equal(to_x.output, pair.y_to_x(y))


def test_images_that_cannot_be_halved_five_times_are_refused_with_a_size_that_can() -> None:
    assert size_problem(64, 96) is None
    assert size_problem(48, 48) == (
        "images of 48x48 pixels cannot be halved 5 times; give a multiple of 32, such as "
        "--image-size 64"
    )
    assert "--image-size 32" in str(size_problem(8, 8))
    assert SPACE.refuses is not None
    assert SPACE.refuses(SPACE, 0, (48, 48, 3)) == size_problem(48, 48)


def test_every_configuration_names_a_method_and_the_control_connects_nothing() -> None:
    for params in SPACE.samples():
        cross_domain.from_params(params)

    assert cross_domain.from_params(SPACE.control_of({})).connections == ()
    assert "alpha" not in SPACE.control_of({"alpha": 0.3})


def test_students_are_named_by_what_their_size_depends_on() -> None:
    assert SPACE.describe({"width": 16}) == "16-32-64-128"
    network = SPACE.build_student({"width": 16}, 0, (32, 32, 3))
    assert network.x_to_y.widths == (16, 32, 64, 128)


def test_the_published_experiments_differ_in_connections_and_adapter() -> None:
    methods = [
        cross_domain.from_params(SPACE.complete(row.params)) for row in SPACE.presets["paper"]
    ]

    assert [method.connections for method in methods] == [((1, 4),), ((1, 4), (2, 3)), ((1, 4),)]
    assert [method.adapter for method in methods] == ["maxpool", "maxpool", "conv"]
