"""Scores of a classifier, computed from how often it took which class for which.

A confusion matrix is added up on the device, batch by batch, and read once, at the end.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class were taken for which.

    Args:
        predictions: int64 `(batch,)`, from 0 to `classes - 1`.
        labels: int64 `(batch,)`, likewise, on the same device.
        classes: Number of classes.

    Returns:
        int64 `(classes, classes)` on that device: a row for each class, a column for what its
        images were taken for. Matrices of batches add up to that of all.
    """
    # Not torch.bincount, which makes the processor wait for a GPU.
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, labels * classes + predictions, torch.ones_like(labels))
    return counts.view(classes, classes)


def accuracy(matrix: Tensor) -> float:
    """Share of the images whose class was found (%).

    Args:
        matrix: Of `confusion`, not all 0.
    """
    return 100 * matrix.trace().item() / matrix.sum().item()


def weighted_f1(matrix: Tensor) -> float:
    """F1 of each class, averaged with the number of its images as weights (%).

    F1 is `2 TP / (2 TP + FP + FN)`, the harmonic mean of precision and recall, and 0 for a class
    of which nothing was found (van Rijsbergen, "Information Retrieval", 1979, chapter 7, with
    equal weights of both).

    Args:
        matrix: Of `confusion`, not all 0.
    """
    counts = matrix.double()
    found, support, named = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    # support + named is 2 TP + FP + FN. A class without images that was never named weighs 0.
    f1 = 2 * found / (support + named).clamp(min=1)
    return 100 * ((f1 * support).sum() / support.sum()).item()


# By the name that a space gives its score.
SCORES: Mapping[str, Callable[[Tensor], float]] = {
    "accuracy": accuracy,
    "weighted F1": weighted_f1,
}


def score_named(name: str) -> Callable[[Tensor], float]:
    """The score of that name, as a function of a confusion matrix.

    Raises:
        ValueError: There is none.
    """
    if name not in SCORES:
        raise ValueError(f"no score {name!r}; choose {', '.join(SCORES)}")
    return SCORES[name]
