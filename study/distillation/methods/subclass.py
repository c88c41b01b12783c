"""Subclass distillation: a teacher divides each class into subclasses, and teaches those.

Müller, Kornblith, Hinton, "Subclass Distillation" (2020). Both networks answer `classes * k`
logits, each class owning a contiguous block of k columns. Nobody labels the subclasses: the teacher
invents them while it learns the classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from study.distillation.courses import Course
from study.distillation.losses import class_logits, cross_entropy
from study.distillation.methods.base import (
    Answers,
    FeatureTaps,
    Method,
    MethodError,
    above_zero,
    number,
    required,
)
from study.distillation.methods.response import courses
from study.distillation.precision import as_given

_EPS = 1e-9


def auxiliary_loss(logits: Tensor, temperature: float) -> Tensor:
    """How alike the answers to the images of a batch are; a teacher lowers it to tell them apart.

    `mean_i logsumexp_j(v_i·v_j / (τS)) - 1/τ - log B` over all pairs of the batch, self included,
    where v are the logits, each row brought to mean 0 and variance 1 over its S columns (ibid.,
    section 3). A row of variance 1 has `v·v / S = 1`, so that the exponent, less the constant 1/τ,
    is `-|v_i - v_j|² / (2τS)`: computed so, it is never above 0 and cannot overflow, and identical
    rows, the worst there is, give exactly 0. The best is above `-log B`: the loss depends on the
    size of the batch.

    Args:
        logits: `(batch, S)`, S of 2 or more, any floating dtype; memory grows with batch² · S.
        temperature: τ > 0.
    """
    with as_given(logits.device.type):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        centred = logits - logits.mean(dim=1, keepdim=True)
        rows = centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + _EPS)
        apart = (rows[:, None, :] - rows[None, :, :]).square().mean(dim=2)
        # Not .mean(dim=1): some devices multiply by 1/B there, and B · 1/B may not be 1.
        alike = torch.exp(-apart / (2 * temperature)).sum(dim=1) / len(rows)
        return alike.log().mean()


def subclass_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`T² · CE(softmax(t/T), s/T)` over all subclasses, the mean over the batch.

    The distillation term of the paper. It is `losses.response_divergence` plus T² times the
    entropy of the teacher's answers, which no student can change: another value, the same
    gradient.

    Args:
        student_logits: `(batch, classes * k)`, any floating dtype.
        teacher_logits: `(batch, classes * k)`, any floating dtype; no gradient flows into it.
        temperature: T > 0.

    Raises:
        ValueError: The two have different numbers of columns.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"the student answers {student_logits.shape[1]} subclasses and its teacher "
            f"{teacher_logits.shape[1]}"
        )
    with as_given(student_logits.device.type):
        wide = torch.promote_types(student_logits.dtype, torch.float32)
        targets = functional.softmax(teacher_logits.detach().to(wide) / temperature, dim=1)
        return temperature**2 * functional.cross_entropy(
            student_logits.to(wide) / temperature, targets
        )


@dataclass(frozen=True)
class Subclass:
    """`(1-α) · CE(class logits of s, y) + α · T² · CE(softmax(t/T), s/T)` over the subclasses.

    A term of weight 0 is left out.

    Attributes:
        classes: Classes of the data.
        temperature: T in every epoch.
        alpha: α in every epoch.
    """

    classes: int
    temperature: Course
    alpha: Course

    name: ClassVar[str] = "subclass"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """With the temperature and the α of an epoch."""
        return replace(
            self,
            temperature=Course(self.temperature.at(epoch, epochs)),
            alpha=Course(self.alpha.at(epoch, epochs)),
        )

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`, and each term present, unweighted, as `"ce"` and `"subclass_ce"`.

        Raises:
            ValueError: Student and teacher have different numbers of subclasses.
        """
        alpha, temperature = self.alpha.start, self.temperature.start
        terms: dict[str, Tensor] = {}
        if alpha != 1:
            terms["ce"] = cross_entropy(class_logits(answers.logits, self.classes), answers.labels)
        if alpha != 0:
            terms["subclass_ce"] = subclass_cross_entropy(
                answers.logits, required(answers.teacher_logits), temperature
            )
        weights = {"ce": 1 - alpha, "subclass_ce": alpha}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}


@dataclass(frozen=True)
class SubclassTeacher:
    """`CE(class logits, y) + β · auxiliary_loss`: how a teacher comes by its subclasses.

    Attributes:
        classes: Classes of the data.
        weight: β.
        temperature: τ.
    """

    classes: int
    weight: float = 1.0
    temperature: float = 1.0

    name: ClassVar[str] = "subclass-teacher"
    needs_teacher: ClassVar[bool] = False
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`, and its terms, unweighted, as `"ce"` and `"auxiliary"`."""
        ce = cross_entropy(class_logits(answers.logits, self.classes), answers.labels)
        auxiliary = auxiliary_loss(answers.logits, self.temperature)
        return {
            "loss": ce + self.weight * auxiliary,
            "ce": ce.detach(),
            "auxiliary": auxiliary.detach(),
        }


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters.

    Args:
        params: `temperature` and `alpha` as of the response method, and `classes`, of the data.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    return Subclass(_classes(params), *courses(params))


def teacher_from_params(params: Mapping[str, Any]) -> Method:
    """The method that trains a teacher of subclasses.

    Args:
        params: `classes`, of the data; `subclass_weight` is β, `subclass_temperature` is τ.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    weight = number(params, "subclass_weight", 1.0)
    if not weight >= 0:
        raise MethodError(f"subclass_weight must be 0 or more, got {weight:g}")
    temperature = above_zero(params, "subclass_temperature", 1.0)
    return SubclassTeacher(_classes(params), weight, temperature)


def _classes(params: Mapping[str, Any]) -> int:
    classes = number(params, "classes")
    if classes < 2 or classes != int(classes):
        raise MethodError(f"classes must be a whole number from 2 up, got {classes:g}")
    return int(classes)
