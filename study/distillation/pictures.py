"""Arrays as small PNG files, without any text in them."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LONGEST_SIDE = 128  # pixels; larger pictures are reduced to it

# Matplotlib's colour map "inferno" (CC0), in eight steps: it is read alike in colour, in grey and
# by the colour-blind, and black is nothing.
_HEAT = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51),
        (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    dtype=np.float64,
)  # fmt: skip


@dataclass(frozen=True)
class Png:
    """A PNG file, and its width and height in pixels."""

    content: bytes
    width: int
    height: int


def image_png(pixels: npt.NDArray[np.uint8]) -> Png:
    """An image as it is.

    Args:
        pixels: uint8 `(height, width, channels)`, of 1 channel (grey) or 3 (RGB).

    Raises:
        ValueError: It is none of these.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"{pixels.dtype} {pixels.shape} is no picture: uint8 (h, w, 1 or 3)")
    return _png(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def heat_png(values: npt.NDArray[np.floating[Any]]) -> Png:
    """A map of values as colours from black (0) over red and yellow to white (1).

    Args:
        values: `(height, width)`; what lies outside 0..1 is drawn as the nearest of the two.
    """
    steps = np.linspace(0, 1, len(_HEAT))
    clipped = np.clip(values, 0.0, 1.0)
    channels = [np.interp(clipped, steps, _HEAT[:, channel]) for channel in range(3)]
    return _png(np.stack(channels, axis=2).round().astype(np.uint8))


def _png(pixels: npt.NDArray[np.uint8]) -> Png:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if max(picture.size) > LONGEST_SIDE:
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return Png(file.getvalue(), *picture.size)
