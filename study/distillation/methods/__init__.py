"""How a student is taught: one method a file, and the one place that chooses among them.

A method sees logits and labels of one batch, and answers with its loss and the terms it is made
of. Training asks for the teacher only if the method needs it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from study.distillation.methods.response import CrossEntropy, Response

TERMS = ("ce", "ce+kl", "weighted")


class MethodError(ValueError):
    """The parameters name no method, or one that cannot work."""


class Method(Protocol):
    """What training asks of a method."""

    @property
    def name(self) -> str:
        """For people and records."""
        ...

    @property
    def needs_teacher(self) -> bool:
        """Whether `loss` reads the teacher's logits."""
        ...

    @property
    def needs_features(self) -> bool:
        """Whether it reads the feature maps of both networks."""
        ...

    def loss(
        self, student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor
    ) -> dict[str, Tensor]:
        """Scalar losses of a batch; `"loss"` is the total, to be differentiated.

        Args:
            student_logits: `(batch, classes)`, with gradient.
            teacher_logits: `(batch, classes)` float32, or None if `needs_teacher` is false.
            labels: int64 `(batch,)`.
        """
        ...


def build(params: Mapping[str, Any]) -> Method:
    """The method that a trial's parameters ask for.

    Args:
        params: `"terms"` is `"ce"` (the control: no distillation), `"ce+kl"` (both terms with
            weight 1) or `"weighted"` (1-α and α). `"temperature"` (default 1) is read by the
            latter two, `"alpha"` by the last. Other keys belong to others and are left alone.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    terms = params.get("terms")
    if terms not in TERMS:
        raise MethodError(f"no method has the loss terms {terms!r}; choose {', '.join(TERMS)}")
    if terms == "ce":
        return CrossEntropy()
    temperature = _number(params, "temperature", 1.0)
    if temperature <= 0:
        raise MethodError(f"temperature must be above 0, got {temperature:g}")
    if terms == "ce+kl":
        return Response(temperature, ce_weight=1.0, kl_weight=1.0)
    alpha = _number(params, "alpha", None)
    if not 0 <= alpha <= 1:
        raise MethodError(f"alpha must lie between 0 and 1, got {alpha:g}")
    # At 0 the teacher has no say: the same code as the control's, hence the same bits.
    if alpha == 0:
        return CrossEntropy()
    return Response(temperature, ce_weight=1 - alpha, kl_weight=alpha)


def _number(params: Mapping[str, Any], key: str, default: float | None) -> float:
    value = params.get(key, default)
    if value is None:
        raise MethodError(f"the loss terms {params['terms']!r} need a value for {key}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise MethodError(f"{key} must be a number, got {value!r}") from None
