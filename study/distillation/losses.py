"""Distillation losses as pure functions of logits.

Every function computes in at least float32, outside autocast: at low temperatures the logits
divided by T leave the range in which half precision has any resolution. Doubles stay doubles.
"""

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of `(batch, classes)` logits against int64 labels `(batch,)`."""
    with torch.autocast(student_logits.device.type, enabled=False):
        return functional.cross_entropy(_at_least_float32(student_logits), labels)


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
    with torch.autocast(student_logits.device.type, enabled=False):
        student = _at_least_float32(student_logits) / temperature
        teacher = _at_least_float32(teacher_logits.detach()) / temperature
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


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
