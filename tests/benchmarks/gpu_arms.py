"""The arms of the benchmark on a GPU: one student, taught in each of four ways.

`tutorial` is how tutorials of distillation have it: a process for each trial, a DataLoader with
workers over torchvision's transforms, the teacher asked at each step, all in float32. `tuned` is
the same as a careful engineer would have it: one process, workers that stay, pinned memory,
bfloat16, channels_last, fused optimisers. `plain` is the loop of `tutorial` without a process a
trial. `ours` reads the teacher's answers from its table, and trains by `StudentTrainer`.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from study.distillation import methods
from study.distillation.image_data import ImageData, Split
from study.distillation.losses import response_loss
from study.distillation.precision import Precision, autocast
from study.distillation.stepping import make_optimizer
from study.distillation.training import (
    StudentTrainer,
    TeacherSource,
    TrainingData,
    TrainingSettings,
)

ARMS = ("tutorial", "tuned", "plain", "ours")
TEMPERATURE, ALPHA = 4.0, 0.9
# Processes that share a device load the same, and are ready within seconds of each other.
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.005


class _AsImages(Dataset[tuple[Any, int]]):
    """Arrays as torchvision's data sets hold them: a PIL image of each, transformed when asked."""

    def __init__(self, split: Split, transform: Any) -> None:
        self._images, self._labels, self._transform = split.images, split.labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        pixels = self._images[index]
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        return self._transform(image), int(self._labels[index])


@dataclass(frozen=True)
class Loaded:
    """What a loop over a DataLoader gets."""

    train: Any
    validation: Any

    @classmethod
    def of(cls, data: ImageData, batch_size: int, workers: int, *, tuned: bool) -> "Loaded":
        """Loaders of the train and the validation split."""
        height, width, _ = data.shape
        plain = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        augmented: list[Any] = [transforms.RandomCrop((height, width), data.augmentation.pad)]
        if data.augmentation.flip:
            augmented.append(transforms.RandomHorizontalFlip())
        how: Any = {
            "num_workers": workers,
            "persistent_workers": tuned and workers > 0,
            "pin_memory": tuned and torch.cuda.is_available(),
        }
        train = _AsImages(data.train, transforms.Compose([*augmented, *plain]))
        validation = _AsImages(data.validation, transforms.Compose(plain))
        return cls(
            DataLoader(train, batch_size, shuffle=True, **how), DataLoader(validation, 512, **how)
        )


def by_loader(
    student: nn.Module,
    teacher: nn.Module,
    loaded: Loaded,
    settings: TrainingSettings,
    device: torch.device,
    *,
    tuned: bool,
) -> Iterator[float]:
    """Train a student with a DataLoader and a living teacher; its accuracy (%) after each epoch."""
    kind: Precision = settings.precision if tuned else "float32"
    student, teacher = student.to(device), teacher.to(device).eval()
    if tuned:
        student = student.to(memory_format=torch.channels_last)
        teacher = teacher.to(memory_format=torch.channels_last)
        optimizer = make_optimizer((student,), settings)
    else:
        optimizer = torch.optim.SGD(
            student.parameters(),
            settings.learning_rate,
            momentum=settings.momentum,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
    steps = len(loaded.train)
    for epoch in range(settings.epochs):
        student.train()
        for step, (images, labels) in enumerate(loaded.train):
            images = images.to(device, non_blocking=tuned)
            labels = labels.to(device, non_blocking=tuned)
            if tuned:
                images = images.to(memory_format=torch.channels_last)
            with torch.no_grad(), autocast(kind, device):
                answers = teacher(images).float()
            with autocast(kind, device):
                logits = student(images)
            loss = response_loss(logits.float(), answers, labels, TEMPERATURE, ALPHA)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(epoch * steps + step, steps)
            optimizer.step()
        yield _accuracy(student, loaded.validation, device, autocast(kind, device))


def by_table(
    student: nn.Module,
    source: TeacherSource,
    data: ImageData,
    settings: TrainingSettings,
    device: torch.device,
) -> Iterator[float]:
    """Train a student as this service does; its accuracy (%) after each epoch."""
    method = methods.build({"terms": "weighted", "temperature": TEMPERATURE, "alpha": ALPHA})
    trainer = StudentTrainer(student, method, training_data(data), source, settings, device)
    for _ in range(settings.epochs):
        yield trainer.run_epoch().val_score


def training_data(data: ImageData) -> TrainingData:
    """The whole train split, as a student sees it."""
    return TrainingData(data.train, data.validation, data.mean, data.std, data.augmentation)


def seconds_and_accuracy(epochs: Iterator[float]) -> tuple[float, float]:
    """Seconds of all epochs, validation included, and the accuracy after the last (%)."""
    start = time.perf_counter()
    *_, accuracy = epochs
    return time.perf_counter() - start, accuracy


def together(command: Sequence[str], folder: Path, processes: int) -> list[float]:
    """Seconds of a trial in each of several processes, which begin it at once.

    Args:
        command: Of each, without its `--out`.
        folder: Where they tell each other that they are ready, and leave what they found.
        processes: How many.

    Raises:
        RuntimeError: One has failed.
    """
    paths = [folder / f"arm-{place}.json" for place in range(processes)]
    for left in folder.glob("arm-*.ready"):
        left.unlink()
    started = [subprocess.Popen([*command, "--out", str(path)]) for path in paths]
    if any([process.wait() for process in started]):
        raise RuntimeError(f"a process of {' '.join(command)} failed; its error is above")
    return [float(json.loads(path.read_text())["seconds"]) for path in paths]


def wait_for_others(out: Path, processes: int) -> None:
    """Return once as many processes are ready to train as share the device, this one among them.

    Args:
        out: Where this one leaves what it finds; those of the others lie beside it.
        processes: How many.

    Raises:
        TimeoutError: Others are not ready in time.
    """
    out.with_suffix(".ready").touch()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(list(out.parent.glob("arm-*.ready"))) < processes:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all of {processes} processes were ready to train in time")
        time.sleep(_LOOK_SECONDS)


@torch.inference_mode()
def _accuracy(
    student: nn.Module, validation: Any, device: torch.device, kind: AbstractContextManager[None]
) -> float:
    student.eval()
    right = 0
    with kind:
        for images, labels in validation:
            right += int((student(images.to(device)).argmax(1).cpu() == labels).sum())
    return 100.0 * right / len(validation.dataset)
