"""The teacher's answers, asked once: logits of every image under every view, kept in a file.

Students read them in place of the teacher's forward pass. Raw logits are kept, so that one file
serves every temperature; float16 moves a logit by less than a two-thousandth of its size.
`kept_outputs` is the file.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.distillation.answering import Answering
from study.distillation.folding import fold_batch_norms
from study.distillation.image_data import Augmentation, Images
from study.distillation.kept_outputs import KeptOutputs
from study.distillation.precision import Precision, autocast
from study.distillation.resident import borrow, ran_out_of_memory
from study.distillation.serving import weights_type
from study.distillation.teacher_network import weights_hash
from study.distillation.teacher_recipe import TeacherError
from study.distillation.teacher_store import alone_in
from study.distillation.views import (
    Normalizer,
    ViewDraws,
    apply_view,
    distinct_views,
    draws_of_cell,
    view_draws,
)

Outputs = NDArray[np.float16]
# Called with the images answered so far and all there are, every view counted.
Progress = Callable[[int, int], None]

_FORMAT = 3
# Pixels a forward pass begins with: 256 images of 32x32 on a CPU, whose caches larger batches
# outgrow, and 4096 on a GPU. Halved for as long as they do not fit.
_PIXELS = {"cpu": 1 << 18}
_PIXELS_ELSEWHERE = 1 << 22
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, eq=False)
class ViewedImages:
    """What a teacher is asked about: images, normalised its way, under numbered views.

    Attributes:
        images: uint8 `(n, h, w, c)`.
        augmentation: Of the views; without padding and flip, all views are the images.
        mean: Of each channel, scale 0..1, as the teacher was trained with.
        std: Likewise.
        views: How many of the stream of views: 0 to `views` - 1, each image under a crop and flip
            of its own. None asks about every crop and flip of every image, whatever the seed.
        seed: Of the views, the one students draw theirs by.
    """

    images: Images
    augmentation: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: int | None
    seed: int

    def __post_init__(self) -> None:
        """Refuse nothing asked."""
        if len(self.images) < 1 or self.count < 1:
            raise ValueError(f"{self.views} views of {len(self.images)} images: give 1 or more")

    @property
    def count(self) -> int:
        """How many views there are answers to."""
        return distinct_views(self.augmentation) if self.views is None else self.views

    @property
    def asked(self) -> int:
        """How many of them the teacher has to be asked about: one, where all are alike."""
        return 1 if distinct_views(self.augmentation) == 1 else self.count

    @property
    def alike(self) -> int:
        """For how many views the answers to one stand."""
        return self.count // self.asked

    def draws(self, view: int) -> ViewDraws:
        """The crops and flips of all images under a view, on the CPU."""
        if self.views is None:
            return draws_of_cell(view, len(self.images), self.augmentation)
        return view_draws(self.seed, view, len(self.images), self.augmentation)

    def content_hash(self) -> str:
        """SHA-256 in hex of all but how many views: more of them are the same ones and others."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        order = "all" if self.views is None else self.seed
        rest = [
            list(self.images.shape),
            [list(self.mean), list(self.std)],
            [order, self.augmentation.pad, self.augmentation.flip],
        ]
        digest.update(json.dumps(rest).encode())
        return digest.hexdigest()


def teacher_outputs(
    model: nn.Module,
    asked: ViewedImages,
    device: torch.device,
    precision: Precision = "float32",
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Outputs:
    """A teacher's logits on every image under every view.

    Args:
        model: The teacher; moved to `device`, put in eval mode and left so.
        asked: Images and views.
        device: Where the teacher runs.
        precision: What it computes in.
        batch_size: Images a forward pass to begin with; None for what suits images and device.
            Halved whenever memory does not suffice.
        progress: Called after each batch.

    Returns:
        float16 `(views, n, classes)`.

    Raises:
        TeacherError: A logit is not finite, or too large for float16.
    """
    asking = _Asking(model, asked, device, precision, batch_size, progress)
    return _every_view(np.stack([asking.about(view) for view in range(asked.asked)]), asked)


def cached_teacher_outputs(
    folder: Path,
    model: nn.Module,
    asked: ViewedImages,
    device: torch.device,
    precision: Precision = "float32",
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Outputs:
    """As `teacher_outputs`, of the views kept in `folder`; the others are computed and kept.

    Each view is on the disk, with its checksum, as soon as it is answered: one who is interrupted
    goes on there, and a view that is damaged is asked about again. Of several processes that ask
    the same, one computes and the others wait.

    Returns:
        float16 `(views, n, classes)`, mapped from the file, read-only.

    Raises:
        TeacherError: As `teacher_outputs`.
        OSError: The disk is full, or `folder` cannot be written.
    """
    path = outputs_path(folder, model, asked, precision)
    images = len(asked.images)
    kept = KeptOutputs(path, images)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done * asked.alike, asked.count * images)

    with alone_in(path, lambda: tell(kept.lines() * images)):
        missing = kept.missing(range(asked.asked))
        done = (asked.asked - len(missing)) * images
        tell(done)
        if missing:
            asking = _Asking(model, asked, device, precision, batch_size, progress, done)
            for view in missing:
                kept.add(view, asking.about(view))
    return _every_view(kept.mapped(asked.asked), asked)


def outputs_path(
    folder: Path, model: nn.Module, asked: ViewedImages, precision: Precision = "float32"
) -> Path:
    """Folder of these answers, named by the hash of all that shapes them, the weights included."""
    shaping = [_FORMAT, weights_hash(model), asked.content_hash(), precision, "float16"]
    name = hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]
    return folder / f"outputs-{name}"


class _Asking:
    """A teacher on its device, asked about one view after another."""

    def __init__(
        self,
        model: nn.Module,
        asked: ViewedImages,
        device: torch.device,
        precision: Precision,
        batch_size: int | None,
        progress: Progress | None,
        done: int = 0,
    ) -> None:
        """Put teacher and images on the device; `done` images are answered already."""
        self._asked = asked
        self._device = device
        self._precision: Precision = precision
        self._pixels = borrow(asked.images).to(device)
        self._normalize = Normalizer(asked.mean, asked.std, device)
        first = self._normalize(self._pixels[:1].permute(0, 3, 1, 2))
        # As it would be shipped: a tenth faster on a processor.
        folded = fold_batch_norms(model.to(device).eval(), first.to(weights_type(model)))
        self._answering = Answering(folded.to(memory_format=torch.channels_last), device)
        pixels = _PIXELS.get(device.type, _PIXELS_ELSEWHERE)
        fitting = max(1, pixels // (self._pixels.shape[1] * self._pixels.shape[2]))
        self._batch_size = min(batch_size or fitting, len(self._pixels))
        self._progress = progress
        self._done = done

    def about(self, view: int) -> Outputs:
        """float16 `(n, classes)`.

        Raises:
            TeacherError: A logit is not finite, or too large for float16.
        """
        draws = self._asked.draws(view).to(self._device)
        return _as_float16(torch.cat(list(self._logits(draws))), view)

    def _logits(self, draws: ViewDraws) -> Iterable[Tensor]:
        """Logits of batch after batch, each as large as fits."""
        start, count = 0, len(self._pixels)
        while start < count:
            rows = torch.arange(start, count, device=self._device)
            batches = torch.split(rows, self._batch_size)
            try:
                answered = self._answering.about(batches, partial(self._forward, draws))
                # Whoever is interrupted by what hears of the progress leaves no threads behind.
                with closing(answered):
                    for logits in answered:
                        yield logits
                        start += len(logits)
                        self._done += len(logits)
                        if self._progress is not None:
                            done = self._done * self._asked.alike
                            self._progress(done, self._asked.count * count)
            except (MemoryError, RuntimeError) as error:
                if self._batch_size == 1 or not ran_out_of_memory(error):
                    raise
                self._batch_size //= 2
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()

    def _forward(self, draws: ViewDraws, model: nn.Module, rows: Tensor) -> Tensor:
        """The logits of some images."""
        images = self._normalize(apply_view(self._pixels[rows], draws.take(rows)))
        with autocast(self._precision, self._device):
            logits: Tensor = model(images)
        return logits.float()


def _every_view(answered: Outputs, asked: ViewedImages) -> Outputs:
    """The answers to every view from those to the views that differ."""
    return answered if len(answered) == asked.count else np.repeat(answered, asked.count, axis=0)


def _as_float16(logits: Tensor, view: int) -> Outputs:
    largest = float(logits.abs().max())  # not a number if any logit is not
    if not largest <= _FLOAT16_MAX:
        raise TeacherError(
            f"the teacher's logits reach {largest:g} in view {view}, float16 ends at 65504: its "
            "training went astray; train it with a lower learning rate, or name a checkpoint"
        )
    halves: Outputs = logits.half().cpu().numpy()
    return halves
