"""DIST: the student matches relations between the teacher's answers, not the answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from study.distillation.losses import at_least_float32, cross_entropy
from study.distillation.methods.base import (
    Answers,
    FeatureTaps,
    Method,
    above_zero,
    combined,
    number,
    required,
    several_classes,
    some_weight,
    zero_or_more,
)
from study.distillation.precision import as_given

# Probabilities that differ by less are taken for equal.
_ROUNDING = 1e-7


def pearson_distance(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """`1 - r`, r the Pearson correlation along `dim`, the mean over the other axis.

    0 where one is the other times a positive number plus another number, 2 where that number is
    negative. A line that does not vary is correlated with nothing, and brings no gradient.

    Args:
        one: `(rows, columns)`.
        other: The same shape.
        dim: 1 correlates rows, 0 columns.
    """
    centred = one - one.mean(dim, keepdim=True)
    others = other - other.mean(dim, keepdim=True)
    # What is left of a line that does not vary is rounding, which a correlation would blow up.
    varies = (centred.abs().amax(dim) > _ROUNDING) & (others.abs().amax(dim) > _ROUNDING)
    safe = torch.where(varies.unsqueeze(dim), centred, torch.ones_like(centred))
    correlation = functional.cosine_similarity(safe, others, dim=dim)
    return 1 - torch.where(varies, correlation, torch.zeros_like(correlation)).mean()


def inter_class_relation(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`T² · (1 - r)` of each image's softened answers, the mean over the batch.

    Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher" (2022): which
    classes the teacher holds for likelier than others. The factor T² is that of their code.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
        temperature: T > 0 (their τ).

    Raises:
        MethodError: There are two classes: two numbers of sum 1 correlate by 1 or -1.
    """
    return _relation(student_logits, teacher_logits, temperature, dim=1)


def intra_class_relation(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`T² · (1 - r)` of each class's softened answers over the batch, the mean over the classes.

    Huang et al. (2022): which images of the batch are more of a class than others.

    Args:
        student_logits: `(batch, classes)`, any floating dtype; it takes two images to say a thing.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
        temperature: T > 0 (their τ).

    Raises:
        MethodError: There are two classes.
    """
    return _relation(student_logits, teacher_logits, temperature, dim=0)


@dataclass(frozen=True)
class Relations:
    """`ce_weight · CE + β · inter-class relation + γ · intra-class relation`.

    Attributes:
        temperature: T.
        inter_weight: β.
        intra_weight: γ.
        ce_weight: Of the cross-entropy with the labels.
    """

    temperature: float
    inter_weight: float
    intra_weight: float
    ce_weight: float = 1.0

    name: ClassVar[str] = "dist"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`; the terms as `"ce"`, `"inter"` and `"intra"`."""
        logits, temperature = answers.logits, self.temperature
        teacher = required(answers.teacher_logits)
        several_classes(logits.shape[1], self.name)
        return combined(
            ("ce", self.ce_weight, lambda: cross_entropy(logits, answers.labels)),
            (
                "inter",
                self.inter_weight,
                lambda: inter_class_relation(logits, teacher, temperature),
            ),
            (
                "intra",
                self.intra_weight,
                lambda: intra_class_relation(logits, teacher, temperature),
            ),
        )


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters; the defaults are those of the published code at τ = 4.

    Args:
        params: `temperature` (4), `inter_weight` β (1), `intra_weight` γ (1), `ce_weight` (1), and
            `classes`, of the data.

    Raises:
        MethodError: A parameter is outside its range, or there are two classes.
    """
    several_classes(number(params, "classes", 3), Relations.name)
    inter = zero_or_more(params, "inter_weight", 1.0)
    intra = zero_or_more(params, "intra_weight", 1.0)
    ce = zero_or_more(params, "ce_weight", 1.0)
    some_weight(inter_weight=inter, intra_weight=intra, ce_weight=ce)
    return Relations(above_zero(params, "temperature", 4.0), inter, intra, ce)


def _relation(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, dim: int
) -> Tensor:
    several_classes(student_logits.shape[1], Relations.name)
    with as_given(student_logits.device.type):
        student = torch.softmax(at_least_float32(student_logits) / temperature, dim=1)
        teacher = torch.softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
        return temperature**2 * pearson_distance(student, teacher, dim)
