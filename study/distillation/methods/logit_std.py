"""Logit standardisation: the student matches the shape of the teacher's answers, not their size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.losses import at_least_float32, cross_entropy, response_divergence
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

# Keeps a row without any spread finite; that of the published code.
_EPSILON = 1e-7


def standardised(logits: Tensor) -> Tensor:
    """Each row less its mean, over its standard deviation (with Bessel's correction).

    Args:
        logits: `(batch, classes)`, in at least float32.
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + _EPSILON)


def standardised_divergence(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`T² · KL(softmax(z_t/T) ‖ softmax(z_s/T))` of standardised logits z, the mean over the batch.

    Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation" (2024): the
    deviation of each example's logits serves as its temperature, and T is the base that all
    share. A student of small capacity need not reach the size of the teacher's logits.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
        temperature: The base temperature T > 0.

    Raises:
        MethodError: There are two classes: z is then ±1/√2, whatever the logits are.
    """
    several_classes(student_logits.shape[1], StandardisedResponse.name)
    with as_given(student_logits.device.type):
        student = standardised(at_least_float32(student_logits))
        teacher = standardised(at_least_float32(teacher_logits.detach()))
        return response_divergence(student, teacher, temperature)


@dataclass(frozen=True)
class StandardisedResponse:
    """`ce_weight · CE + kd_weight · T² · KL` of standardised logits.

    Attributes:
        temperature: The base temperature T.
        kd_weight: Of the divergence.
        ce_weight: Of the cross-entropy with the labels, whose logits are not standardised.
    """

    temperature: float
    kd_weight: float
    ce_weight: float

    name: ClassVar[str] = "logit_std"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`; the terms as `"ce"` and `"kl"`."""
        logits, teacher = answers.logits, required(answers.teacher_logits)
        several_classes(logits.shape[1], self.name)
        return combined(
            ("ce", self.ce_weight, lambda: cross_entropy(logits, answers.labels)),
            (
                "kl",
                self.kd_weight,
                lambda: standardised_divergence(logits, teacher, self.temperature),
            ),
        )


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters; the defaults are the paper's.

    Args:
        params: `base_temperature` (2), `kd_weight` (9), `ce_weight` (0.1), and `classes`, of the
            data.

    Raises:
        MethodError: A parameter is outside its range, or there are two classes.
    """
    several_classes(number(params, "classes", 3), StandardisedResponse.name)
    kd = zero_or_more(params, "kd_weight", 9.0)
    ce = zero_or_more(params, "ce_weight", 0.1)
    some_weight(kd_weight=kd, ce_weight=ce)
    return StandardisedResponse(above_zero(params, "base_temperature", 2.0), kd, ce)
