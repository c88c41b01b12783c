"""Where a student's training gets the teacher's answers: from a table, or from the network."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.distillation.image_data import Augmentation
from study.distillation.precision import Precision, autocast
from study.distillation.resident import borrow
from study.distillation.taps import Taps
from study.distillation.views import Normalizer, cells, distinct_views, view_draws


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

    The table is raw logits, so that every temperature can be applied to it. It stays where it is,
    mapped by all trials of a machine; the answers of one view at a time are on the device.
    """

    def __init__(
        self, outputs: npt.NDArray[np.float16], device: torch.device | str = "cpu"
    ) -> None:
        """Take the table, without a copy.

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
        self._outputs = borrow(outputs)
        self._device = torch.device(device)
        self._view = -1
        self._at_hand = torch.empty(0)

    @property
    def views(self) -> int | None:
        """Number of views answered; None if every view is."""
        return len(self._outputs)

    @property
    def images(self) -> int:
        """Number of images answered."""
        return self._outputs.shape[1]

    def turn_to(self, view: int) -> None:
        """Have the answers of a view on the device, in the same memory as those of the last one.

        So a captured step, which knows addresses only, reads the answers of whichever view it is.
        """
        if view == self._view:
            return
        answers = self._of_view(view)
        if self._view < 0:
            self._at_hand = answers.to(self._device, copy=True)
        else:
            self._at_hand.copy_(answers)
        self._view = view

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
        self.turn_to(view)
        return self._at_hand.index_select(0, rows).float(), ()

    def _of_view(self, view: int) -> Tensor:
        """float16 `(n, classes)`, on the CPU."""
        return self._outputs[view]


class WholeTable(CachedTeacher):
    """Answers for every crop and flip that there is: no view is without one."""

    def __init__(
        self,
        outputs: npt.NDArray[np.float16],
        augmentation: Augmentation,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Take the table, without a copy.

        Args:
            outputs: float16 `(distinct_views, n, classes)`.
            augmentation: Of the views.
            seed: Of the views.
            device: Where students are trained.

        Raises:
            ValueError: `outputs` is no whole table of this augmentation.
        """
        super().__init__(outputs, device)
        if len(outputs) != distinct_views(augmentation):
            raise ValueError(
                f"{len(outputs)} views are no whole table: there are {distinct_views(augmentation)}"
            )
        self._augmentation = augmentation
        self._seed = seed

    @property
    def views(self) -> None:
        """All."""
        return None

    def _of_view(self, view: int) -> Tensor:
        draws = view_draws(self._seed, view, self.images, self._augmentation)
        return self._outputs[cells(draws), torch.arange(self.images)]


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

    @property
    def network(self) -> nn.Module:
        """The teacher, in eval mode."""
        return self._network

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
