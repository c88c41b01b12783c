"""Hybrid distillation from a teacher whose feature maps are rounded to eight bits.

After Gupta et al., "Exploring Knowledge Distillation", section 1.1: a high precision teacher,
quantised on its feature maps, transfers its knowledge to a quantised student. A student whose own
maps have 256 values is not asked for what lies between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from study.distillation.methods import features
from study.distillation.methods.base import Answers, Method, MethodError
from study.distillation.precision import as_given
from study.distillation.projectors import DIRECTIONS

_STEPS = 127


def fake_quantize(values: Tensor) -> Tensor:
    """Values rounded to eight bits and back: per tensor, symmetric, over the range of the batch.

    `s · clamp(round(x / s), -127, 127)` with the scale `s = max|x| / 127`, halves rounded to even;
    the error is at most `s / 2`, and 0 for zeros alone. The range is that of the tensor given, so
    the scale differs from batch to batch. The gradient is that of the identity (straight through,
    Bengio et al., 2013): rounding has none, and no value lies outside the range.

    Args:
        values: Any shape and floating dtype; computed in float32 or wider, returned so.
    """
    with as_given(values.device.type):
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        exact = wide.detach()
        scale = exact.abs().amax() / _STEPS
        # Zeros alone have no scale; any but 0 leaves them zeros.
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        rounded = torch.clamp(torch.round(exact / scale), -_STEPS, _STEPS) * scale
        return rounded + (wide - exact)  # exactly the rounded values: the bracket is 0


@dataclass(frozen=True)
class Quantized(features.Hybrid):
    """`(1-α) · CE + α · T² · KL + λ · Σ MSE(s, fq(t))`: hybrid, of rounded feature maps."""

    name: ClassVar[str] = "quantized"

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The terms of `Hybrid`, the teacher's feature maps rounded by `fake_quantize`."""
        rounded = tuple(fake_quantize(feature) for feature in answers.teacher_features)
        return super().loss(replace(answers, teacher_features=rounded))


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters.

    Args:
        params: As of the hybrid method, but for `projector`: the student's maps are brought to
            the teacher's, which are rounded as they are.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    if params.get("projector", DIRECTIONS[0]) != DIRECTIONS[0]:
        raise MethodError(
            f"the method {Quantized.name} rounds the teacher's own feature maps, which no "
            f"projector may have changed; leave projector at {DIRECTIONS[0]}"
        )
    method = features.from_params(params)
    if not isinstance(method, features.Hybrid):
        return method
    return Quantized(method.temperature, method.alpha, method.feature_weight, method.taps)
