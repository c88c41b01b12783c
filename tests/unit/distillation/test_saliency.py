import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from study.distillation.image_data import Split
from study.distillation.pictures import LONGEST_SIDE, heat_png, image_png
from study.distillation.saliency import first_of_classes, saliency

CPU = torch.device("cpu")


class Weighted(nn.Module):
    """Class 0 sums the pixels by known weights, class 1 is 0; ReLU in place, as students have."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.positive = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        first = (images * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def images_of(labels: list[int], channels: int = 1, side: int = 2) -> Split:
    generator = np.random.default_rng(0)
    shape = (len(labels), side, side, channels)
    pixels = generator.integers(0, 256, shape, dtype=np.uint8)
    return Split(pixels, np.array(labels, dtype=np.int64))


def test_a_map_is_the_absolute_gradient_scaled_to_its_own_largest_value() -> None:
    weights = torch.tensor([[[1.0, -4.0], [2.0, 0.0]]])
    looked = saliency(Weighted(weights), images_of([0, 0]), [0.5], [0.25], 2, CPU)
    expected = np.array([[0.25, 1.0], [0.5, 0.0]])
    np.testing.assert_allclose(looked.maps, np.stack([expected, expected]), rtol=1e-6)
    assert looked.maps.dtype == np.float32


def test_of_the_channels_the_largest_counts_by_the_pixels_themselves() -> None:
    # Normalised, the second channel is stretched four times as much as the first.
    weights = torch.tensor([[[3.0]], [[1.0]]]).expand(2, 2, 2).clone()
    weights[1, 0, 0] = 0.0
    looked = saliency(Weighted(weights), images_of([0], 2), [0.5, 0.5], [0.4, 0.1], 2, CPU)
    np.testing.assert_allclose(looked.maps[0], [[0.75, 1.0], [1.0, 1.0]], rtol=1e-6)


def test_all_networks_are_asked_for_the_true_class_whatever_they_predict() -> None:
    network = Weighted(torch.ones(1, 2, 2))
    looked = saliency(network, images_of([0, 1]), [0.0], [1.0], 2, CPU)
    assert looked.predicted.tolist() == [0, 0]
    assert looked.maps[0].max() == 1.0
    assert looked.maps[1].max() == 0.0  # class 1 depends on nothing: a black map, and no NaN


def test_subclasses_are_asked_as_the_classes_they_are_of() -> None:
    class Blocks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            pixels = images.flatten(1)
            return torch.stack([pixels[:, 0], pixels[:, 1], pixels[:, 2], pixels[:, 3]], dim=1)

    looked = saliency(Blocks(), images_of([1]), [0.0], [1.0], 2, CPU)
    assert looked.maps[0, 0].tolist() == [0.0, 0.0]
    assert looked.maps[0, 1].max() == 1.0
    assert looked.predicted[0] in (0, 1)


def test_a_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    network.append(nn.Flatten()).append(nn.Linear(16, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        saliency(network, images_of([0, 1]), [0.5], [0.25], 2, CPU)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    weights = torch.full((1, 2, 2), torch.inf)
    with pytest.raises(ValueError, match="not finite"):
        saliency(Weighted(weights), images_of([0]), [0.5], [0.25], 2, CPU)


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [0, 2, 4, 6, 8]),
        ([1, 0, 1, 0, 1, 0], [1, 3, 0, 2]),
        ([0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([2, 1, 1], [1, 2, 0]),
        ([], []),
    ],
)
def test_images_are_chosen_by_their_place_alone(labels: list[int], rows: list[int]) -> None:
    chosen = first_of_classes(np.array(labels, dtype=np.int64))
    assert chosen.tolist() == rows
    assert chosen.dtype == np.int64


# Pictures


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_keeps_its_pixels(channels: int) -> None:
    pixels = images_of([0], channels, side=8).images[0]
    png = image_png(pixels)
    assert (png.width, png.height) == (8, 8)
    assert np.array_equal(pixels_of(png.content).reshape(pixels.shape), pixels)
    assert image_png(pixels) == png


def test_heat_goes_from_black_to_white_and_never_darker() -> None:
    png = heat_png(np.linspace(-0.5, 1.5, 200).reshape(2, 100))
    drawn = pixels_of(png.content).astype(float).reshape(-1, 3)
    brightness = drawn @ [0.299, 0.587, 0.114]
    assert brightness[0] < 2
    assert brightness[-1] > 235
    assert (np.diff(brightness) >= -0.6).all()


def test_large_pictures_are_reduced() -> None:
    png = heat_png(np.ones((300, 600)))
    assert (png.width, png.height) == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert pixels_of(png.content).shape == (64, 128, 3)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="is no picture"):
        image_png(np.zeros((4, 4, 2), dtype=np.uint8))
