"""Students that can be left early: every exit is taught, and deeper ones can teach shallower ones.

The parameter `exit` of a trial says that its student has a classifier behind each of four stages.
It is taught as a whole, whichever exit the trial is judged by.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.courses import Course
from study.distillation.losses import cross_entropy, feature_distance
from study.distillation.methods.base import (
    Answers,
    FeatureTaps,
    Method,
    MethodError,
    Mixing,
    zero_or_more,
)
from study.distillation.methods.response import CrossEntropy, Response, courses, weighted

# The parameter that says at which exit a trial's student is left.
EXIT = "exit"
# What such a student calls its classifiers, and the feature maps before them, shallowest first.
HEADS = ("head1", "head2", "head3", "head4")
MAPS = ("adapter1", "adapter2", "adapter3", "layer4")


@dataclass(frozen=True)
class SelfDistillation:
    """`Σ_i (1-α) · CE(q_i, y) + α · T² · KL(q_C ‖ q_i) + λ · MSE(F_i, F_C)`, and `CE(q_C, y)`.

    The sum is over the exits before the deepest, C. Zhang et al., "Be Your Own Teacher" (2019), as
    R. Chavhan's report "Knowledge Distillation" states it, which has no temperature (T = 1) and
    writes the divergence as KL(q_i, q_C); here it is taken as everywhere else, from the taught to
    the teaching. The deepest exit learns from the labels alone: its logits and its feature map are
    targets without gradient. The feature term is a mean over the map, so that λ does not depend on
    its size.

    Attributes:
        temperature: T in every epoch.
        alpha: α in every epoch.
        feature_weight: λ; at 0 no feature maps are looked at.
    """

    temperature: Course
    alpha: Course
    feature_weight: float
    now: Response | CrossEntropy | None = None

    name: ClassVar[str] = "self"
    needs_teacher: ClassVar[bool] = False
    needs_network: ClassVar[bool] = False

    @property
    def taps(self) -> FeatureTaps:
        """All classifiers, and the maps before them where those are compared."""
        return FeatureTaps(HEADS + MAPS if self.feature_weight else HEADS)

    def at(self, epoch: int, epochs: int) -> Self:
        """With the temperature and the α of an epoch."""
        temperature = self.temperature.at(epoch, epochs)
        return replace(self, now=weighted(temperature, self.alpha.at(epoch, epochs)))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total, and the cross-entropy of the deepest exit as `"deepest"`.

        `answers.features` holds what `taps` names; whose logits are judged plays no part.
        """
        assert self.now is not None, "ask .at(epoch, epochs) first"
        *shallow, deepest = answers.features[: len(HEADS)]
        own = cross_entropy(deepest, answers.labels)
        loss = own
        for logits in shallow:
            taught = replace(answers, logits=logits, teacher_logits=deepest.detach())
            loss = loss + self.now.loss(taught)["loss"]
        terms = {"deepest": own.detach()}
        if self.feature_weight:
            *maps, target = answers.features[len(HEADS) :]
            distance = feature_distance(maps, [target.detach()] * len(maps))
            loss = loss + self.feature_weight * distance
            terms["features"] = distance.detach()
        return {"loss": loss, **terms}


@dataclass(frozen=True)
class EveryExit:
    """Another method, applied to every exit by itself: the sum of its losses."""

    inner: Method

    taps: ClassVar[FeatureTaps] = FeatureTaps(HEADS)

    @property
    def name(self) -> str:
        """That of the method applied."""
        return self.inner.name

    @property
    def needs_teacher(self) -> bool:
        """Whether the method applied does."""
        return self.inner.needs_teacher

    @property
    def needs_network(self) -> bool:
        """Whether the method applied does."""
        return self.inner.needs_network

    def at(self, epoch: int, epochs: int) -> Self:
        """With the method as it is in an epoch."""
        return replace(self, inner=self.inner.at(epoch, epochs))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The method's terms, each the sum over the exits."""
        total: dict[str, Tensor] = {}
        for logits in answers.features:
            terms = self.inner.loss(replace(answers, logits=logits, features=()))
            for name, value in terms.items():
                total[name] = total[name] + value if name in total else value
        return total


def from_params(params: Mapping[str, Any]) -> Method:
    """Self-distillation as a trial's parameters ask for it.

    Args:
        params: `temperature` (default 1) and `alpha` as of the response method;
            `feature_weight` is λ. They need an `exit`: another student has nothing to teach itself.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    if EXIT not in params:
        raise MethodError(
            "the method self teaches a student of several exits; give the space a parameter exit"
        )
    weight = zero_or_more(params, "feature_weight")
    if weight == math.inf:
        raise MethodError("feature_weight must be finite")
    return SelfDistillation(*courses(params), weight)


def at_every_exit(method: Method) -> Method:
    """A method for a student of several exits, of each of which it sees the logits.

    Raises:
        MethodError: The method looks at more of a student, or at mixed images.
    """
    if isinstance(method, SelfDistillation):
        return method
    if method.taps is not None or isinstance(method, Mixing):
        raise MethodError(
            f"the method {method.name} does not teach a student of several exits; "
            "use self, response, targets or none"
        )
    return EveryExit(method)
