"""Scoring a model on the plain images of a split."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.distillation.deployment import Exits
from study.distillation.image_data import Split
from study.distillation.losses import class_logits
from study.distillation.precision import Precision, autocast
from study.distillation.resident import ResidentSplit
from study.distillation.views import Normalizer

# Pixels a batch: 256 images of 32x32 on a CPU, whose caches larger ones outgrow, 2048 on a GPU.
_PIXELS_AT_ONCE = {"cpu": 1 << 18}
_PIXELS_AT_ONCE_ELSEWHERE = 1 << 21


def evaluate(
    model: nn.Module,
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    precision: Precision = "float32",
    batch_size: int | None = None,
    classes: int | None = None,
) -> tuple[float, float]:
    """Score a model.

    Args:
        model: On `device`; it is scored in eval mode and left in the mode it was in.
        split: Images and labels.
        mean: Mean of each channel that the model was trained with, scale 0..1.
        std: Standard deviation of each channel, scale 0..1.
        device: Where to score.
        precision: Format of the forward pass.
        batch_size: Images at a time; None for what suits their size and the device.
        classes: Number of classes, where the model answers subclasses of them; see `class_logits`.

    Returns:
        The mean cross-entropy, and the accuracy in percent.
    """
    resident = ResidentSplit.of(split, device)
    return score(model, resident, Normalizer(mean, std, device), precision, batch_size, classes)


@torch.inference_mode()
def score(
    model: nn.Module,
    split: ResidentSplit,
    normalize: Normalizer,
    precision: Precision,
    batch_size: int | None = None,
    classes: int | None = None,
) -> tuple[float, float]:
    """`evaluate` for a split that is on the device already."""
    return _scores(
        model, lambda images: (model(images),), split, normalize, precision, batch_size, classes
    )[0]


@torch.inference_mode()
def exit_scores(
    student: nn.Module, split: ResidentSplit, normalize: Normalizer, precision: Precision
) -> list[tuple[float, float]]:
    """`score` of every exit of a student, in the order of `Exits.exits`, from one pass."""
    assert isinstance(student, Exits)
    return _scores(student, student.answers, split, normalize, precision)


def _scores(
    model: nn.Module,
    answers: Callable[[Tensor], Sequence[Tensor]],
    split: ResidentSplit,
    normalize: Normalizer,
    precision: Precision,
    batch_size: int | None = None,
    classes: int | None = None,
) -> list[tuple[float, float]]:
    """Loss and accuracy of each of the answers that a model gives."""
    batch_size = batch_size or _batch_size(split)
    was_training = model.training
    model.eval()
    totals: list[Tensor] = []
    batches = zip(
        torch.split(split.images, batch_size), torch.split(split.labels, batch_size), strict=True
    )
    for images, labels in batches:
        with autocast(precision, images.device):
            given = answers(normalize(images.permute(0, 3, 1, 2)))
        totals.append(torch.stack([_sums(logits, labels, classes) for logits in given]))
    model.train(was_training)
    sums = torch.stack(totals).sum(dim=0).tolist()
    return [(loss / len(split), 100 * correct / len(split)) for loss, correct in sums]


def _sums(logits: Tensor, labels: Tensor, classes: int | None) -> Tensor:
    """Cross-entropy and right answers of a batch, summed: float64 `(2,)`, on the device."""
    if classes is not None:
        logits = class_logits(logits, classes)
    loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
    correct = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([loss.double(), correct.double()])


def _batch_size(split: ResidentSplit) -> int:
    pixels = _PIXELS_AT_ONCE.get(split.images.device.type, _PIXELS_AT_ONCE_ELSEWHERE)
    return max(1, pixels // (split.images.shape[1] * split.images.shape[2]))
