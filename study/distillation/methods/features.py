"""Hybrid distillation: the teacher's answers and its feature maps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.courses import Course
from study.distillation.losses import feature_distance
from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError, number
from study.distillation.methods.response import (
    CrossEntropy,
    Response,
    courses,
    of_courses,
    weighted,
)
from study.distillation.projectors import DIRECTIONS

STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Hybrid:
    """`(1-α) · CE + α · T² · KL + λ · Σ MSE(features)`, over pairs of tapped modules.

    Attributes:
        temperature: T in every epoch.
        alpha: α in every epoch; at 0 no logits of the teacher are read.
        feature_weight: λ.
        taps: The pairs.
    """

    temperature: Course
    alpha: Course
    feature_weight: float
    taps: FeatureTaps
    now: Response | CrossEntropy | None = None

    name: ClassVar[str] = "hybrid"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = True

    def at(self, epoch: int, epochs: int) -> Self:
        """With the temperature and the α of an epoch."""
        temperature = self.temperature.at(epoch, epochs)
        return replace(self, now=weighted(temperature, self.alpha.at(epoch, epochs)))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The terms of `Response`, and `"features"`, the sum over the pairs, unweighted."""
        assert self.now is not None, "ask .at(epoch, epochs) first"
        terms = self.now.loss(answers)
        distance = feature_distance(answers.features, answers.teacher_features)
        terms["loss"] = terms["loss"] + self.feature_weight * distance
        return {**terms, "features": distance.detach()}


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters.

    Args:
        params: `temperature` and `alpha` as of the response method; `feature_weight` is λ,
            `taps` the modules' names, separated by `+` (default: the four stages), and
            `projector` one of `projectors.DIRECTIONS`. With λ = 0 it is the response method:
            features are not looked at.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    temperature, alpha = courses(params)
    weight = number(params, "feature_weight")
    if not 0 <= weight < math.inf:
        raise MethodError(f"feature_weight must be a number from 0 up, got {weight:g}")
    direction = params.get("projector", DIRECTIONS[0])
    if direction not in DIRECTIONS:
        raise MethodError(f"no projector {direction!r}; choose {', '.join(DIRECTIONS)}")
    if weight == 0:
        return of_courses(temperature, alpha)
    names = tuple(str(params.get("taps", "+".join(STAGES))).split("+"))
    return Hybrid(temperature, alpha, weight, FeatureTaps(names, names, direction))
