"""Data where the training runs: whole splits on the device, batches by indexing, no loader."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from study.distillation.image_data import Split

# Pixels a batch: 256 images of 32x32 on a CPU, whose caches larger ones outgrow, 2048 on a GPU.
_PIXELS_AT_ONCE = {"cpu": 1 << 18}
_PIXELS_AT_ONCE_ELSEWHERE = 1 << 21


@dataclass(frozen=True, eq=False)
class ResidentSplit:
    """A split as tensors on one device.

    Attributes:
        images: uint8 `(n, height, width, channels)`.
        labels: int64 `(n,)`.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "ResidentSplit":
        """Put a split on `device`; on the CPU it stays where it is, without a copy."""
        return cls(borrow(split.images).to(device), borrow(split.labels).to(device))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


def batch_for(images: Tensor) -> int:
    """Return how many images to score at a time: what suits their size and their device.

    Args:
        images: `(n, height, width, channels)`.
    """
    pixels = _PIXELS_AT_ONCE.get(images.device.type, _PIXELS_AT_ONCE_ELSEWHERE)
    return max(1, pixels // (images.shape[1] * images.shape[2]))


def borrow(array: npt.NDArray[Any]) -> Tensor:
    """A CPU tensor over the memory of `array`, to be read only.

    Arrays out of a shared object store are read-only. torch has no such tensors, and warns that
    writing to one is undefined; every borrower here indexes, which copies.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def ran_out_of_memory(error: Exception) -> bool:
    """Whether memory was wanting, on whichever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # What torch's allocator on the CPU raises has no type of its own, nor what CUDA and its
    # libraries do.
    told = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)


def lost_the_gpu(error: Exception) -> bool:
    """Whether CUDA failed, otherwise than for want of memory: its process cannot use it again."""
    if ran_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and "CUDA error" in str(error)
    )
