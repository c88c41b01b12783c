"""Response distillation: the student matches the teacher's softened answers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from study.distillation.losses import cross_entropy, response_divergence


@dataclass(frozen=True)
class CrossEntropy:
    """Labels alone: the control of every space, and how teachers are trained."""

    name: ClassVar[str] = "ce"
    needs_teacher: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False

    def loss(
        self, student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor
    ) -> dict[str, Tensor]:
        """Mean cross-entropy; `teacher_logits` is not looked at."""
        return {"loss": cross_entropy(student_logits, labels)}


@dataclass(frozen=True)
class Response:
    """`ce_weight · CE(s, y) + kl_weight · T² · KL(softmax(t/T) ‖ softmax(s/T))`.

    With the weights 1-α and α it is the loss of Hinton et al. (2015); with 1 and 1, at T = 1, the
    sum of classification and divergence losses of the published block students. A term of weight
    0 is left out.
    """

    temperature: float
    ce_weight: float
    kl_weight: float

    name: ClassVar[str] = "response"
    needs_teacher: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False

    def loss(
        self, student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor
    ) -> dict[str, Tensor]:
        """The total as `"loss"`, and each term present, unweighted, as `"ce"` and `"kl"`."""
        if teacher_logits is None:
            raise ValueError("response distillation needs the teacher's logits")
        kl = response_divergence(student_logits, teacher_logits, self.temperature)
        terms = {"loss": self.kl_weight * kl, "kl": kl.detach()}
        if self.ce_weight != 0:
            ce = cross_entropy(student_logits, labels)
            terms["loss"] = self.ce_weight * ce + terms["loss"]
            terms["ce"] = ce.detach()
        return terms
