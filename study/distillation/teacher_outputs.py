"""The teacher's answers, asked once: logits of every image under every view, kept in a file.

Students read them in place of the teacher's forward pass. Raw logits are kept, so that one file
serves every temperature; float16 moves a logit by less than a two-thousandth of its size.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.distillation.image_data import Augmentation, Images
from study.distillation.precision import Precision, autocast
from study.distillation.resident import borrow
from study.distillation.teacher_network import weights_hash
from study.distillation.teacher_recipe import TeacherError
from study.distillation.views import Normalizer, apply_view, view_draws

Outputs = NDArray[np.float16]
# Called with the images answered so far and all there are, every view counted.
Progress = Callable[[int, int], None]

_FORMAT = 1
_BATCH = {"cpu": 256, "cuda": 2048}
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, eq=False)
class ViewedImages:
    """What a teacher is asked about: images, normalised its way, under numbered views.

    Attributes:
        images: uint8 `(n, h, w, c)`.
        augmentation: Of the views; without padding and flip, all views are the images.
        mean: Of each channel, scale 0..1, as the teacher was trained with.
        std: Likewise.
        views: How many: 0 to `views` - 1.
        seed: Of the views, the one students draw theirs by.
    """

    images: Images
    augmentation: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse nothing asked."""
        if len(self.images) < 1 or self.views < 1:
            raise ValueError(f"{self.views} views of {len(self.images)} images: give 1 or more")

    @property
    def all_alike(self) -> bool:
        """Whether every view is the same."""
        return self.augmentation.pad == 0 and not self.augmentation.flip

    def content_hash(self) -> str:
        """SHA-256 in hex of all of it."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        rest = [
            list(self.images.shape),
            [list(self.mean), list(self.std)],
            [self.views, self.seed, self.augmentation.pad, self.augmentation.flip],
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
        batch_size: Images a forward pass; None for what suits the device.
        progress: Called after each batch.

    Returns:
        float16 `(views, n, classes)`.

    Raises:
        TeacherError: A logit is not finite, or too large for float16.
    """
    model.to(device).to(memory_format=torch.channels_last).eval()
    pixels = borrow(asked.images).to(device)
    normalizer = Normalizer(asked.mean, asked.std, device)
    count = len(pixels)
    batches = torch.split(
        torch.arange(count, device=device), batch_size or _BATCH.get(device.type, 256)
    )
    answered: list[Outputs] = []

    for view in range(1 if asked.all_alike else asked.views):
        draws = view_draws(asked.seed, view, count, asked.augmentation).to(device)
        logits: list[Tensor] = []
        done = view * count
        for rows in batches:
            images = normalizer(apply_view(pixels[rows], draws.take(rows)))
            with torch.inference_mode(), autocast(precision, device):
                logits.append(model(images).float())
            done += len(rows)
            if progress is not None:
                progress(done, asked.views * count)
        answered.append(_as_float16(torch.cat(logits), view))
    if asked.all_alike:
        if progress is not None:
            progress(asked.views * count, asked.views * count)
        return np.repeat(answered[0][None], asked.views, axis=0)
    return np.stack(answered)


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
    """As `teacher_outputs`, from the file in `folder` if it is there, else computed into it.

    The file appears whole or not at all. One of the wrong size, shape or type is computed again.

    Returns:
        float16 `(views, n, classes)`, mapped from the file, read-only.

    Raises:
        TeacherError: As `teacher_outputs`.
        OSError: The disk is full, or `folder` cannot be written.
    """
    path = outputs_path(folder, model, asked, precision)
    total = asked.views * len(asked.images)
    kept = _read(path, asked)
    if kept is not None:
        if progress is not None:
            progress(total, total)
        return kept
    outputs = teacher_outputs(
        model, asked, device, precision, batch_size=batch_size, progress=progress
    )
    folder.mkdir(parents=True, exist_ok=True)
    # A name of its own: two studies may ask one teacher at once, and the last to end stays.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            np.save(file, outputs)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return np.lib.format.open_memmap(path, mode="r")


def outputs_path(
    folder: Path, model: nn.Module, asked: ViewedImages, precision: Precision = "float32"
) -> Path:
    """File of these answers, named by the hash of all that shapes them, the weights included."""
    shaping = [_FORMAT, weights_hash(model), asked.content_hash(), precision, "float16"]
    name = hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]
    return folder / f"outputs-{name}.npy"


def _read(path: Path, asked: ViewedImages) -> Outputs | None:
    """The stored answers, or None if there are none that fit."""
    try:
        stored = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    leading = (asked.views, len(asked.images))
    fits = stored.dtype == np.float16 and stored.ndim == 3 and stored.shape[:2] == leading
    return stored if fits else None


def _as_float16(logits: Tensor, view: int) -> Outputs:
    largest = float(logits.abs().max())  # not a number if any logit is not
    if not largest <= _FLOAT16_MAX:
        raise TeacherError(
            f"the teacher's logits reach {largest:g} in view {view}, float16 ends at 65504: its "
            "training went astray; train it with a lower learning rate, or name a checkpoint"
        )
    halves: Outputs = logits.half().cpu().numpy()
    return halves
