"""Response distillation: the student matches the teacher's softened answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from study.distillation.courses import Course, CourseError, course_of
from study.distillation.losses import cross_entropy, response_divergence
from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError, required

TERMS = ("ce", "ce+kl", "weighted")


@dataclass(frozen=True)
class CrossEntropy:
    """Labels alone: the control of every space, and how most teachers are trained."""

    name: ClassVar[str] = "ce"
    needs_teacher: ClassVar[bool] = False
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """Mean cross-entropy; the teacher is not looked at."""
        return {"loss": cross_entropy(answers.logits, answers.labels)}


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
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """Itself: the same in every epoch; see `ScheduledResponse`."""
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The total as `"loss"`, and each term present, unweighted, as `"ce"` and `"kl"`."""
        kl = response_divergence(answers.logits, required(answers.teacher_logits), self.temperature)
        terms = {"loss": self.kl_weight * kl, "kl": kl.detach()}
        if self.ce_weight != 0:
            ce = cross_entropy(answers.logits, answers.labels)
            terms["loss"] = self.ce_weight * ce + terms["loss"]
            terms["ce"] = ce.detach()
        return terms


@dataclass(frozen=True)
class ScheduledResponse:
    """The weighted response loss with a temperature and an α of their own in every epoch."""

    temperature: Course
    alpha: Course
    now: Response | CrossEntropy | None = None

    name: ClassVar[str] = "response"
    needs_teacher: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    def at(self, epoch: int, epochs: int) -> Self:
        """With the temperature and the α of an epoch."""
        temperature = self.temperature.at(epoch, epochs)
        return replace(self, now=weighted(temperature, self.alpha.at(epoch, epochs)))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """As of `Response`, in the epoch that `at` named."""
        assert self.now is not None, "ask .at(epoch, epochs) first"
        return self.now.loss(answers)


def weighted(temperature: float, alpha: float) -> Response | CrossEntropy:
    """`(1-α) · CE + α · T² · KL`; at α = 0 the very code of the control, hence the same bits."""
    if alpha == 0:
        return CrossEntropy()
    return Response(temperature, ce_weight=1 - alpha, kl_weight=alpha)


def from_params(params: Mapping[str, Any]) -> Method:
    """The method of a trial's parameters.

    Args:
        params: `terms` is `weighted` (1-α and α, where it is not given), `ce+kl` (both terms with
            weight 1) or `ce` (the control). `temperature` (default 1) and `alpha` may have
            schedules, see `courses.course_of`; `ce+kl` reads the temperature alone.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    terms = params.get("terms", "weighted")
    if terms not in TERMS:
        raise MethodError(f"no method has the loss terms {terms!r}; choose {', '.join(TERMS)}")
    if terms == "ce":
        return CrossEntropy()
    temperature, alpha = courses(params, needs_alpha=terms == "weighted")
    if terms == "ce+kl":
        if temperature.kind != "fixed":
            raise MethodError("ce+kl has one temperature; use the terms weighted with a schedule")
        return Response(temperature.start, ce_weight=1.0, kl_weight=1.0)
    return of_courses(temperature, alpha)


def of_courses(temperature: Course, alpha: Course) -> Method:
    """The weighted loss under the courses of T and α, plain where neither changes."""
    if temperature.kind == alpha.kind == "fixed":
        return weighted(temperature.start, alpha.start)
    return ScheduledResponse(temperature, alpha)


def courses(params: Mapping[str, Any], *, needs_alpha: bool = True) -> tuple[Course, Course]:
    """The courses of temperature and α.

    Raises:
        MethodError: A temperature is not above 0, or an α not between 0 and 1.
    """
    try:
        temperature = course_of(params, "temperature", 1.0)
        alpha = course_of(params, "alpha") if needs_alpha else Course(1.0)
    except CourseError as error:
        raise MethodError(str(error)) from None
    for value in (temperature.start, temperature.end):
        if value is not None and not value > 0:
            raise MethodError(f"temperature must be above 0, got {value:g}")
    for value in (alpha.start, alpha.end):
        if value is not None and not 0 <= value <= 1:
            raise MethodError(f"alpha must lie between 0 and 1, got {value:g}")
    return temperature, alpha
