"""Scoring a model on the plain images of a split."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.distillation.answering import Answering
from study.distillation.deployment import Exits
from study.distillation.image_data import Split
from study.distillation.losses import class_logits
from study.distillation.metrics import confusion, score_named
from study.distillation.precision import Precision, autocast
from study.distillation.resident import ResidentSplit, batch_for
from study.distillation.views import Normalizer


def evaluate(
    model: nn.Module,
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    precision: Precision = "float32",
    batch_size: int | None = None,
    classes: int | None = None,
    by: str = "accuracy",
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
        by: Name of the score, one of `metrics.SCORES`.

    Returns:
        The mean cross-entropy, and the score in percent.

    Raises:
        ValueError: There is no score of that name.
    """
    resident, normalize = ResidentSplit.of(split, device), Normalizer(mean, std, device)
    return score(model, resident, normalize, precision, batch_size, classes, by)


def score(
    model: nn.Module,
    split: ResidentSplit,
    normalize: Normalizer,
    precision: Precision,
    batch_size: int | None = None,
    classes: int | None = None,
    by: str = "accuracy",
) -> tuple[float, float]:
    """`evaluate` for a split that is on the device already."""
    return _scores(model, _one_answer, split, normalize, precision, batch_size, classes, by)[0]


def exit_scores(
    student: nn.Module,
    split: ResidentSplit,
    normalize: Normalizer,
    precision: Precision,
    by: str = "accuracy",
) -> list[tuple[float, float]]:
    """`score` of every exit of a student, in the order of `Exits.exits`, from one pass."""
    return _scores(student, _answers_of_exits, split, normalize, precision, by=by)


def _one_answer(model: nn.Module, images: Tensor) -> Sequence[Tensor]:
    return (model(images),)


def _answers_of_exits(student: nn.Module, images: Tensor) -> Sequence[Tensor]:
    assert isinstance(student, Exits)
    return student.answers(images)


def _scores(
    model: nn.Module,
    answers: Callable[[nn.Module, Tensor], Sequence[Tensor]],
    split: ResidentSplit,
    normalize: Normalizer,
    precision: Precision,
    batch_size: int | None = None,
    classes: int | None = None,
    by: str = "accuracy",
) -> list[tuple[float, float]]:
    """Loss and score of each of the answers that a model gives."""
    score_of = score_named(by)
    batch_size = batch_size or batch_for(split.images)
    batches = zip(
        torch.split(split.images, batch_size), torch.split(split.labels, batch_size), strict=True
    )

    def ask(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        with autocast(precision, images.device):
            given = answers(network, normalize(images.permute(0, 3, 1, 2)))
        if classes is not None:
            given = [class_logits(logits, classes) for logits in given]
        counts = [confusion(logits.argmax(dim=1), labels, logits.shape[1]) for logits in given]
        return torch.stack([_summed_loss(logits, labels) for logits in given]), torch.stack(counts)

    was_training = model.training
    model.eval()
    found = [*Answering(model, split.images.device).about([*batches], ask)]
    model.train(was_training)
    losses, matrices = zip(*found, strict=True)
    total = torch.stack(losses).sum(dim=0).tolist()
    counted = torch.stack(matrices).sum(dim=0)
    return [
        (loss / len(split), score_of(matrix)) for loss, matrix in zip(total, counted, strict=True)
    ]


def _summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), labels, reduction="sum").double()
