"""Saliency maps: which pixels move a network's logit of a class.

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
Models and Saliency Maps" (2013), section 3: the absolute gradient of a class's logit by each pixel,
of its channels the largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.distillation.image_data import Rows, Split
from study.distillation.losses import class_logits
from study.distillation.views import Normalizer

MOST_ROWS = 5


@dataclass(frozen=True)
class Looked:
    """What a network looks at in some images, and what it takes them for.

    Attributes:
        maps: float32 `(images, height, width)`, each from 0 to 1, its own largest value.
        predicted: int64 `(images,)`, the class of the largest logit.
    """

    maps: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]


def first_of_classes(labels: Rows, most: int = MOST_ROWS) -> Rows:
    """Rows of a handful of images, chosen by their place in the data set alone.

    The first image of each of the first classes; of fewer classes than that, as many of each as
    fit. They come class by class.

    Args:
        labels: int64 `(n,)`.
        most: Images, at most.

    Returns:
        int64, `most` of them or fewer.
    """
    classes = np.unique(labels)[:most]
    each = most // max(len(classes), 1)
    return np.concatenate(
        [np.flatnonzero(labels == label)[:each] for label in classes]
        or [np.zeros(0, dtype=np.int64)]
    )


def saliency(
    network: nn.Module,
    images: Split,
    mean: Sequence[float],
    std: Sequence[float],
    classes: int,
    device: torch.device,
) -> Looked:
    """Take the gradient of each image's true class, so that networks are asked the same.

    The gradient is by the pixels as they are stored, before they are normalised, so channels of
    different spread can be compared. Each map is divided by its own largest value: brightness
    compares places in one map, not maps. A map without any gradient stays 0.

    Args:
        network: On `device`; its parameters get no gradient, and it is left in the mode it was in.
        images: A few images with their labels.
        mean: Of each channel, as the network was trained, scale 0..1.
        std: Likewise.
        classes: Number of classes; a network may answer subclasses of them.
        device: Where to compute.

    Raises:
        ValueError: A gradient is not finite.
    """
    from captum.attr import Saliency

    was_training = network.training
    network.eval()
    seen = _FromPixels(network, Normalizer(mean, std, device), classes)
    pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2).to(device, torch.float32)
    labels = torch.from_numpy(images.labels).to(device)
    try:
        with torch.enable_grad():
            gradient = Saliency(seen).attribute(pixels.requires_grad_(), target=labels, abs=True)
        with torch.inference_mode():
            predicted = seen(pixels).argmax(dim=1)
    finally:
        network.train(was_training)
    if not bool(gradient.isfinite().all()):
        raise ValueError("the gradient of a logit is not finite")
    strongest = gradient.detach().amax(dim=1)
    largest = strongest.amax(dim=(1, 2), keepdim=True)
    maps = torch.where(largest > 0, strongest / largest, 0.0)
    return Looked(maps.float().cpu().numpy(), predicted.cpu().numpy())


class _FromPixels(nn.Module):
    """A network from the pixels of its images to the logits of their classes."""

    def __init__(self, network: nn.Module, normalize: Normalizer, classes: int) -> None:
        super().__init__()
        self._network = network
        self._normalize = normalize
        self._classes = classes

    def forward(self, pixels: Tensor) -> Tensor:
        return class_logits(self._network(self._normalize(pixels)), self._classes)
