"""Distillation losses as pure functions of logits.

Every function computes in at least float32, outside autocast: at low temperatures the logits
divided by T leave the range in which half precision has any resolution. Doubles stay doubles.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from study.distillation.precision import as_given


def cross_entropy(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of `(batch, classes)` logits against int64 labels `(batch,)`."""
    with as_given(student_logits.device.type):
        return functional.cross_entropy(at_least_float32(student_logits), labels)


def response_divergence(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`T² · KL(softmax(t/T) ‖ softmax(s/T))`, the mean over the batch.

    The soft-target term of Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network"
    (2015), section 2: the factor T² keeps the size of the gradients when T changes (their
    eq. 4). It differs from the cross-entropy with soft targets by the teacher's entropy, which
    has no gradient, and is 0 where student and teacher agree. The sum over classes is averaged
    over the batch alone ("batchmean"); written as sums, because `torch.vmap` has no rule for
    `kl_div`.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`, any floating dtype; no gradient flows into it.
        temperature: T > 0.
    """
    with as_given(student_logits.device.type):
        student = at_least_float32(student_logits) / temperature
        teacher = at_least_float32(teacher_logits.detach()) / temperature
        log_student = functional.log_softmax(student, dim=1)
        log_teacher = functional.log_softmax(teacher, dim=1)
        divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1).mean()
        return temperature**2 * divergence


def response_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
) -> Tensor:
    """`(1-α) · CE(s, y) + α · T² · KL(softmax(t/T) ‖ softmax(s/T))`.

    At α = 0 it is the cross-entropy to the last bit, at α = 1 the labels play no part: a term of
    weight 0 is left out, so that it can bring in neither rounding nor `0 · inf`.

    Args:
        student_logits: `(batch, classes)`.
        teacher_logits: `(batch, classes)`.
        labels: int64 `(batch,)`.
        temperature: T > 0.
        alpha: Weight of the distillation term, from 0 to 1.
    """
    if alpha == 0:
        return cross_entropy(student_logits, labels)
    divergence = response_divergence(student_logits, teacher_logits, temperature)
    if alpha == 1:
        return divergence
    return (1 - alpha) * cross_entropy(student_logits, labels) + alpha * divergence


def feature_distance(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The sum over pairs of the mean squared difference of two feature maps.

    The hint of Romero et al., "FitNets" (2015), with a mean in place of the sum over a map, so
    that its size does not depend on the image's.

    Args:
        features: At least one, each of any shape.
        targets: As many, each of the shape of its partner.
    """
    with as_given(features[0].device.type):
        pairs = zip(features, targets, strict=True)
        distances = [
            functional.mse_loss(at_least_float32(a), at_least_float32(b)) for a, b in pairs
        ]
        return torch.stack(distances).sum()


def class_logits(logits: Tensor, classes: int) -> Tensor:
    """Logits of classes from those of subclasses: `logsumexp` over each class's block.

    Müller, Kornblith, Hinton, "Subclass Distillation" (2020), section 3: the probability of a
    class is the sum of its subclasses'. Each class owns a contiguous block of columns.

    Args:
        logits: `(batch, classes * k)`; with k = 1 they are returned as they are.
        classes: Number of classes.

    Raises:
        ValueError: The columns are no multiple of the classes.
    """
    columns = logits.shape[1]
    if columns == classes:
        return logits
    if columns % classes:
        raise ValueError(f"{columns} logits are no blocks of equal size for {classes} classes")
    with as_given(logits.device.type):
        blocks = at_least_float32(logits).view(-1, classes, columns // classes)
        return torch.logsumexp(blocks, dim=2)


def at_least_float32(logits: Tensor) -> Tensor:
    """The same numbers in float32, or as they are where they have more digits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
