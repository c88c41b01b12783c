"""Where a student's training gets the teacher's answers: from a table, or from the network."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.distillation.precision import Precision, autocast
from study.distillation.resident import borrow
from study.distillation.taps import Taps
from study.distillation.views import Normalizer


class TeacherSource(Protocol):
    """Answers for a batch of one augmented view."""

    def answers(
        self, view: int, rows: Tensor, images: Tensor, taps: tuple[str, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The teacher's logits, and feature maps, for a batch.

        Args:
            view: Number of the view.
            rows: int64 `(batch,)`, the images' numbers in the full train split.
            images: `(batch, channels, height, width)`, those images under that view: uint8, or,
                where they are mixed, float32 on the same scale.
            taps: Names of the modules whose outputs are wanted.

        Returns:
            float32 `(batch, outputs)`, and one feature map a tap, all without gradient and on the
            device of `images`.

        Raises:
            TapError: The teacher has no such module.
        """
        ...


class CachedTeacher:
    """Answers given once for every image under every view, and looked up since.

    The table is raw logits, so that every temperature can be applied to it.
    """

    def __init__(
        self, outputs: npt.NDArray[np.float16], device: torch.device | str = "cpu"
    ) -> None:
        """Put the table on the device; on the CPU the array is mapped, not copied.

        Args:
            outputs: float16 `(views, n, classes)`; row i answers image i of the train split.
            device: Where students are trained.

        Raises:
            ValueError: `outputs` has another dtype or number of axes.
        """
        if outputs.dtype != np.float16 or outputs.ndim != 3:
            raise ValueError(
                f"teacher outputs are {outputs.dtype} {outputs.shape}, "
                "not float16 (views, images, classes)"
            )
        self._outputs = borrow(outputs).to(device)

    @property
    def views(self) -> int:
        """Number of views answered."""
        return len(self._outputs)

    @property
    def images(self) -> int:
        """Number of images answered."""
        return self._outputs.shape[1]

    def answers(
        self, view: int, rows: Tensor, images: Tensor, taps: tuple[str, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The stored logits; the pixels are not looked at. See `TeacherSource`.

        Raises:
            ValueError: Feature maps are asked for, or mixed images shown: no table holds these.
        """
        if taps:
            raise ValueError("the teacher's table holds no feature maps; ask the network, live")
        if images.is_floating_point():
            raise ValueError("the teacher's table knows no mixed images; ask the network, live")
        return self._outputs[view].index_select(0, rows).float(), ()


class LiveTeacher:
    """The network itself, asked anew every time: for views that no table holds."""

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Freeze the network and put it on the device.

        Args:
            network: The teacher; it is put in eval mode and its gradients are switched off.
            mean: Mean of each channel that it was trained with, scale 0..1.
            std: Standard deviation of each channel, scale 0..1.
            device: Where students are trained.
            precision: Format of its forward pass.
        """
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._network.requires_grad_(False).eval()
        self._normalize = Normalizer(mean, std, device)
        self._precision: Precision = precision

    @torch.no_grad()
    def answers(
        self, view: int, rows: Tensor, images: Tensor, taps: tuple[str, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the network says; `view` and `rows` are not looked at. See `TeacherSource`."""
        # The network is shared by all trials of a process: none leaves a hook on it.
        listening = Taps(self._network, taps, whose="the teacher")
        with listening, autocast(self._precision, images.device):
            logits: Tensor = self._network(self._normalize(images))
            return logits.float(), listening.features()
