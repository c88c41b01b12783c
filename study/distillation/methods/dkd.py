"""Decoupled distillation: how sure the teacher is, and what it holds of the other classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from study.distillation.losses import at_least_float32, cross_entropy, response_divergence
from study.distillation.methods.base import (
    Answers,
    FeatureTaps,
    Method,
    MethodError,
    above_zero,
    combined,
    number,
    required,
    several_classes,
    some_weight,
    zero_or_more,
)
from study.distillation.precision import as_given


def target_divergence(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """`TCKD = T² · KL(b_t ‖ b_s)`, b = (p_y, 1 - p_y) at temperature T; the mean over the batch.

    Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation" (2022), eq. 5: of each
    network's softened answer, the probability of the labelled class against all others together.
    The factor T² is that of their code.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
        labels: int64 `(batch,)`.
        temperature: T > 0.
    """
    with as_given(student_logits.device.type):
        student = _target_against_rest(student_logits, labels, temperature)
        teacher = _target_against_rest(teacher_logits.detach(), labels, temperature)
        return temperature**2 * response_divergence(student, teacher, 1.0)


def non_target_divergence(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """`NCKD = T² · KL(p̂_t ‖ p̂_s)`, p̂ the softmax over the classes other than the labelled one.

    Zhao et al. (2022), eq. 5. With TCKD it makes up the whole divergence of an example:
    `T² · KL = TCKD + (1 - p_y) · NCKD`, p_y the teacher's (their eq. 6), so that a teacher that is
    sure of the label would say little about the others; hence weights that do not depend on it.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
        labels: int64 `(batch,)`.
        temperature: T > 0.

    Raises:
        MethodError: There are two classes, hence one other, whose share is always 1.
    """
    several_classes(student_logits.shape[1], DecoupledResponse.name)
    return response_divergence(
        _others(student_logits, labels), _others(teacher_logits, labels), temperature
    )


@dataclass(frozen=True)
class DecoupledResponse:
    """`ce_weight · CE + warm-up · (α · TCKD + β · NCKD)`.

    Attributes:
        temperature: T.
        target_weight: α.
        non_target_weight: β.
        ce_weight: Of the cross-entropy with the labels.
        warmup: Share of the epochs over which the weight of the teacher's terms rises in a
            straight line (the paper: 20 of 240); 0 is none.
        ramp: The warm-up's factor in the present epoch.
    """

    temperature: float
    target_weight: float
    non_target_weight: float
    ce_weight: float = 1.0
    warmup: float = 0.0
    ramp: float = 1.0

    name: ClassVar[str] = "dkd"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """With the warm-up's factor in an epoch: `min(1, (epoch + 1) / (warmup · epochs))`."""
        length = self.warmup * epochs
        return replace(self, ramp=min(1.0, (epoch + 1) / length) if length else 1.0)

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`; the terms as `"ce"`, `"tckd"` and `"nckd"`."""
        logits, labels, temperature = answers.logits, answers.labels, self.temperature
        teacher = required(answers.teacher_logits)
        several_classes(logits.shape[1], self.name)
        return combined(
            ("ce", self.ce_weight, lambda: cross_entropy(logits, labels)),
            (
                "tckd",
                self.ramp * self.target_weight,
                lambda: target_divergence(logits, teacher, labels, temperature),
            ),
            (
                "nckd",
                self.ramp * self.non_target_weight,
                lambda: non_target_divergence(logits, teacher, labels, temperature),
            ),
        )


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters; the defaults are the paper's for CIFAR.

    Args:
        params: `temperature` (4), `target_weight` α (1), `non_target_weight` β (8), `ce_weight`
            (1), `warmup`, a share of the epochs from 0 to 1 (0), and `classes`, of the data.

    Raises:
        MethodError: A parameter is outside its range, or there are two classes.
    """
    several_classes(number(params, "classes", 3), DecoupledResponse.name)
    warmup = number(params, "warmup", 0.0)
    if not 0 <= warmup <= 1:
        raise MethodError(f"warmup must lie between 0 and 1, got {warmup:g}")
    target = zero_or_more(params, "target_weight", 1.0)
    non_target = zero_or_more(params, "non_target_weight", 8.0)
    ce = zero_or_more(params, "ce_weight", 1.0)
    some_weight(target_weight=target, non_target_weight=non_target, ce_weight=ce)
    return DecoupledResponse(above_zero(params, "temperature", 4.0), target, non_target, ce, warmup)


def _target_against_rest(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Logits `(batch, 2)` of the labelled class and of all others together, at a temperature."""
    softened = at_least_float32(logits) / temperature
    target = softened.gather(1, labels[:, None])
    rest = torch.logsumexp(_others(softened, labels), dim=1, keepdim=True)
    return torch.cat([target, rest], dim=1)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """The columns `(batch, classes - 1)` of all classes but the labelled one, in their order."""
    # Taken out rather than masked: a masked column is -inf, and 0 · inf has no gradient.
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, columns + (columns >= labels[:, None]))
