"""What a student learns from: the teacher's answers alone, the labels alone, or both.

From the teacher alone it can learn where nobody has labelled the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.losses import cross_entropy
from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError, required
from study.distillation.methods.response import CrossEntropy
from study.distillation.methods.response import from_params as response_from_params

TARGETS = ("soft", "mixed", "hard", "labels")


def hard_label_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """`CE(s, argmax t)`: the teacher's likeliest class in place of the label.

    After Gupta et al., "Exploring Knowledge Distillation", section 1.1: the student is trained on
    the training set with outputs from the teacher. It is the cross-entropy with soft targets whose
    temperature, of the teacher alone, goes to 0.

    Args:
        student_logits: `(batch, classes)`, any floating dtype.
        teacher_logits: `(batch, classes)`; no gradient flows into it.
    """
    return cross_entropy(student_logits, teacher_logits.detach().argmax(dim=1))


@dataclass(frozen=True)
class HardLabels:
    """Cross-entropy with the classes that the teacher finds likeliest; labels are not read."""

    name: ClassVar[str] = "hard labels"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The mean over the batch."""
        return {"loss": hard_label_loss(answers.logits, required(answers.teacher_logits))}


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters.

    Args:
        params: `targets` is `soft` (the teacher's softened answers, α = 1), `mixed` (those and the
            labels, weighted by `alpha`), `hard` (the teacher's likeliest class) or `labels` (the
            control). Soft and mixed read what the response method reads.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    targets = params.get("targets")
    if targets not in TARGETS:
        raise MethodError(f"no method learns from targets {targets!r}; choose {', '.join(TARGETS)}")
    if targets == "labels":
        return CrossEntropy()
    if targets == "hard":
        return HardLabels()
    changes: dict[str, Any] = {"terms": "weighted"}
    if targets == "soft":
        changes |= {"alpha": 1.0, "alpha_schedule": "fixed"}
    return response_from_params({**params, **changes})
