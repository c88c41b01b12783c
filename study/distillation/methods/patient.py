"""The patient, consistent teacher: it answers the very image the student sees, for a long time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.losses import response_divergence
from study.distillation.methods.base import (
    Answers,
    FeatureTaps,
    Method,
    above_zero,
    required,
    zero_or_more,
)


def function_matching(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`T² · KL(softmax(t/T) ‖ softmax(s/T))`, the mean over the batch, and no labels.

    Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov, "Knowledge distillation: A good teacher is
    patient and consistent" (2022): distillation as matching of two functions, on mixed images
    to cover more of their domain. T² is 1 at their T = 1.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`, of the very same images; no gradient flows into it.
        temperature: T > 0.
    """
    return response_divergence(student_logits, teacher_logits, temperature)


@dataclass(frozen=True)
class FunctionMatching:
    """The teacher's answers alone, to images mixed in pairs.

    Attributes:
        temperature: T.
        mixup: Parameter of the Beta distribution of λ; 1 is uniform, as published, 0 mixes nothing.
    """

    temperature: float
    mixup: float

    name: ClassVar[str] = "patient"
    needs_teacher: ClassVar[bool] = True
    taps: ClassVar[FeatureTaps | None] = None

    @property
    def needs_network(self) -> bool:
        """No table answers mixed images."""
        return self.mixup > 0

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The divergence, as `"loss"` and as `"kl"`; the labels are not looked at."""
        teacher = required(answers.teacher_logits)
        kl = function_matching(answers.logits, teacher, self.temperature)
        return {"loss": kl, "kl": kl.detach()}


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters; the defaults are the paper's.

    Args:
        params: `temperature` (1) and `mixup` (1).

    Raises:
        MethodError: A parameter is outside its range.
    """
    return FunctionMatching(
        above_zero(params, "temperature", 1.0), zero_or_more(params, "mixup", 1.0)
    )
