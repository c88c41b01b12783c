"""Views: one random crop and flip of every image, drawn by number so that no state is kept.

A view is named by `(seed, view)`, and the draw of image `i` in it depends on nothing else: a
teacher asked on one machine and a student trained on another see the same pixels. Images stay
uint8 on their device until `Normalizer` turns a batch into floats.

There are finitely many: every corner of the padded image that a crop may have, plain and mirrored.
`cells` says which of them each image of a view is seen under, so that a teacher asked about all of
them (`draws_of_cell`) has an answer to any view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.distillation.image_data import Augmentation

# The top word of Philox's 256-bit counter: keeps these draws apart from any other stream that
# another module keys by the same two numbers. ("views" in ASCII.)
_STREAM = 0x7669657773
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class ViewDraws:
    """The crop corners and flips of `count` images under one view.

    Attributes:
        dy: int64 `(count,)`, top of the crop in the padded image, in `[0, 2 * pad]`.
        dx: int64 `(count,)`, left of the crop in the padded image, in `[0, 2 * pad]`.
        flip: bool `(count,)`, whether the crop is mirrored left to right.
        augmentation: What the draws were made for; `apply_view` pads by its `pad`.
    """

    dy: Tensor
    dx: Tensor
    flip: Tensor
    augmentation: Augmentation

    def take(self, rows: Tensor) -> "ViewDraws":
        """Return the draws of the images numbered `rows` (int64 `(batch,)`, same device)."""
        return ViewDraws(self.dy[rows], self.dx[rows], self.flip[rows], self.augmentation)

    def copy_(self, others: "ViewDraws") -> None:
        """Take the draws of another view, as many, in the memory of these."""
        for own, other in zip(
            (self.dy, self.dx, self.flip), (others.dy, others.dx, others.flip), strict=True
        ):
            own.copy_(other)

    def to(self, device: torch.device | str) -> "ViewDraws":
        """Return the draws with their tensors on `device`."""
        return ViewDraws(
            self.dy.to(device), self.dx.to(device), self.flip.to(device), self.augmentation
        )

    def __len__(self) -> int:
        """Return the number of images drawn for."""
        return len(self.dy)


def view_draws(seed: int, view: int, count: int, augmentation: Augmentation) -> ViewDraws:
    """Draw the crops and flips of the first `count` images under one view.

    Counter-based: word `i` of Philox-4x64 (Salmon et al. 2011, "Parallel random numbers: as easy
    as 1, 2, 3") keyed by `(seed, view)` belongs to image `i`, so the draws of fewer images are a
    prefix of the draws of more. Only raw words are used, whose stream numpy keeps across versions.

    Args:
        seed: Seed of the study or replicate, 0 or more.
        view: Number of the view, 0 or more.
        count: Number of images.
        augmentation: Padding and flip; without either, every draw is the identity.

    Returns:
        The draws, on the CPU.

    Raises:
        ValueError: `seed`, `view` or `count` is negative.
    """
    for name, number in (("seed", seed), ("view", view), ("count", count)):
        if number < 0:
            raise ValueError(f"{name} is {number}: give 0 or more")
    key = np.array([seed, view], dtype=np.uint64)
    counter = np.array([0, 0, 0, _STREAM], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(count)
    corners = np.uint64(2 * augmentation.pad + 1)
    # 24 bits a coordinate, scaled rather than reduced: the bias is below corners / 2**24.
    dy = ((words >> np.uint64(40)) * corners) >> np.uint64(24)
    dx = (((words >> np.uint64(16)) & np.uint64(0xFFFFFF)) * corners) >> np.uint64(24)
    flip = (words & np.uint64(1)).astype(bool) & augmentation.flip
    return ViewDraws(
        torch.from_numpy(dy.astype(np.int64)),
        torch.from_numpy(dx.astype(np.int64)),
        torch.from_numpy(flip),
        augmentation,
    )


def distinct_views(augmentation: Augmentation) -> int:
    """How many crops and flips of one image there are: `(2 · pad + 1)²`, twice that with flips."""
    return (2 * augmentation.pad + 1) ** 2 * (1 + augmentation.flip)


def cells(draws: ViewDraws) -> Tensor:
    """Which of the `distinct_views` each image is seen under: int64 `(count,)`."""
    corners = 2 * draws.augmentation.pad + 1
    corner = draws.dy * corners + draws.dx
    return corner * 2 + draws.flip if draws.augmentation.flip else corner


def draws_of_cell(cell: int, count: int, augmentation: Augmentation) -> ViewDraws:
    """The same crop and flip for `count` images: the one that `cells` numbers `cell`.

    Raises:
        ValueError: There is none of that number.
    """
    if not 0 <= cell < distinct_views(augmentation):
        raise ValueError(f"there is no view {cell} of {distinct_views(augmentation)}")
    corner, flip = divmod(cell, 2) if augmentation.flip else (cell, 0)
    dy, dx = divmod(corner, 2 * augmentation.pad + 1)
    return ViewDraws(
        torch.full((count,), dy),
        torch.full((count,), dx),
        torch.full((count,), bool(flip)),
        augmentation,
    )


def to_nchw(images: Tensor) -> Tensor:
    """Return uint8 images as `(batch, channels, height, width)`, without a copy.

    Args:
        images: uint8 `(batch, height, width, channels)` as a split stores them, or
            `(batch, channels, height, width)`; 1 or 3 channels.

    Raises:
        ValueError: The channel axis cannot be told from the shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}: give uint8, 4 axes")
    channels_last = images.shape[3] in _CHANNELS
    if channels_last == (images.shape[1] in _CHANNELS):
        raise ValueError(
            f"no telling the channel axis of images {tuple(images.shape)}: give 1 or 3 channels "
            "on axis 1 or 3, and sides other than those"
        )
    return images.permute(0, 3, 1, 2) if channels_last else images


def apply_view(images: Tensor, draws: ViewDraws) -> Tensor:
    """Pad with zeros, crop back to size and flip, each image by its own draw.

    No loop over images and nothing read back from the device: rows are gathered whole, then the
    pixels of each row, the mirrored order being part of the second index.

    Args:
        images: uint8 `(batch, height, width, channels)` or `(batch, channels, height, width)`.
        draws: The draws of these images, in their order, on their device.

    Returns:
        uint8 `(batch, channels, height, width)` in channels-last memory. With neither padding nor
        flip in the augmentation, the images themselves: a view of the argument, not a copy.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    images = to_nchw(images)
    batch, channels, height, width = images.shape
    if len(draws) != batch:
        raise ValueError(f"{batch} images, {len(draws)} draws: take() the draws of this batch")
    pad = draws.augmentation.pad
    if pad == 0 and not draws.augmentation.flip:
        return images
    device = images.device
    high, wide = height + 2 * pad, width + 2 * pad
    padded = torch.zeros((batch, high, wide, channels), dtype=torch.uint8, device=device)
    padded[:, pad : pad + height, pad : pad + width] = images.permute(0, 2, 3, 1)

    first_row = torch.arange(batch, device=device) * high + draws.dy
    rows = first_row[:, None] + torch.arange(height, device=device)
    lines = padded.view(batch * high, wide * channels).index_select(0, rows.view(-1))

    column = torch.arange(width, device=device)
    columns = torch.where(draws.flip[:, None], width - 1 - column, column) + draws.dx[:, None]
    cells = columns[:, :, None] * channels + torch.arange(channels, device=device)
    cells = cells.view(batch, 1, width * channels).expand(batch, height, width * channels)
    cropped = lines.view(batch, height, wide * channels).gather(2, cells)
    return cropped.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Normalizer:
    """Turns images into floats with one network's statistics: `(x / 255 - mean) / std`.

    Holds its constants on the device, so that a training step copies nothing to it.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Prepare the constants.

        Args:
            mean: Mean of each channel, scale 0..1.
            std: Standard deviation of each channel, scale 0..1, above 0.
            device: Where the images lie.
            dtype: Type of the result; the arithmetic is float32.

        Raises:
            ValueError: A deviation is not above 0, or the lengths differ.
        """
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean {tuple(mean)}, std {tuple(std)}: give one std above 0 each")
        self.dtype = dtype
        self._width = 0
        self._center = torch.tensor(mean, dtype=torch.float32, device=device) * 255
        self._spread = torch.tensor(std, dtype=torch.float32, device=device) * 255

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            images: `(batch, channels, height, width)`, any memory order: uint8, or float32 on the
                same scale. They stay as they are.

        Returns:
            `dtype` of the same shape, channels-last memory.
        """
        batch, channels, height, width = images.shape
        # A line at a time: broadcasting over 3 channels alone is four times slower on a CPU.
        if width != self._width:
            self._centers = self._center.repeat(width)
            self._spreads = self._spread.repeat(width)
            self._width = width  # last: several threads may normalise at once
        lines = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        pixels = lines.to(torch.float32, copy=True).sub_(self._centers)
        pixels = pixels.div_(self._spreads).to(self.dtype)
        return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)


def normalise(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Normalise one batch; a loop keeps a `Normalizer` instead.

    Args:
        images: uint8 `(batch, channels, height, width)`.
        mean: Mean of each channel, scale 0..1.
        std: Standard deviation of each channel, scale 0..1.
        dtype: Type of the result.

    Returns:
        `dtype` `(batch, channels, height, width)`, channels-last memory.
    """
    return Normalizer(mean, std, images.device, dtype)(images)
