"""What a method is: a loss of what two networks say of a batch, and what it needs for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from study.distillation.projectors import Direction


class MethodError(ValueError):
    """The parameters name no method, or one that cannot work."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the networks say of one batch.

    Attributes:
        logits: Of the student, float32 `(batch, outputs)`, with gradient.
        labels: int64 `(batch,)`.
        teacher_logits: float32 `(batch, outputs)`; None if the method needs no teacher.
        features: What the student's tapped modules put out, one a tap, in the shapes of
            `teacher_features` where the teacher is tapped too.
        teacher_features: The teacher's, without gradient but for a projector's.
        auxiliary: Of the network's auxiliary head, as `logits`; None if it has none, or does
            not ask it.
    """

    logits: Tensor
    labels: Tensor
    teacher_logits: Tensor | None = None
    features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class FeatureTaps:
    """Which modules are looked at: pairs of the two networks, or some of the student's alone.

    Of a pair, one side is projected to the shape of the other, as `direction` says.
    """

    student: tuple[str, ...]
    teacher: tuple[str, ...] = ()
    direction: Direction = "student-to-teacher"

    def __post_init__(self) -> None:
        """Refuse taps that are no pairs."""
        pairs = len(self.student) == len(self.teacher)
        if not self.student or (self.teacher and not pairs):
            raise MethodError(
                f"taps come in pairs, got {len(self.student)} of the student and "
                f"{len(self.teacher)} of the teacher"
            )


class Method(Protocol):
    """What a lesson asks of a method."""

    @property
    def name(self) -> str:
        """For people and records."""
        ...

    @property
    def needs_teacher(self) -> bool:
        """Whether `loss` reads the teacher's logits or features."""
        ...

    @property
    def needs_network(self) -> bool:
        """Whether no table can answer: it reads feature maps, or changes the images itself."""
        ...

    @property
    def taps(self) -> FeatureTaps | None:
        """Which feature maps it compares; None if logits are enough."""
        ...

    def at(self, epoch: int, epochs: int) -> Self:
        """The method as it is in an epoch (from 0) of a training of `epochs`."""
        ...

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """Scalar losses of a batch; `"loss"` is the total, to be differentiated.

        The others are its terms, unweighted and detached.
        """
        ...


@runtime_checkable
class Mixing(Protocol):
    """What a method has, besides, whose images are mixed in pairs before any network sees them.

    Labels are not mixed: such a method reads the teacher's answers alone.
    """

    @property
    def mixup(self) -> float:
        """The parameter of the Beta distribution that λ is drawn from; 0 mixes nothing."""
        ...


def number(params: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """The parameter `key` as a number.

    Raises:
        MethodError: It is missing and has no default, or is no number.
    """
    value = params.get(key, default)
    if value is None:
        raise MethodError(f"the method needs a value for {key}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise MethodError(f"{key} must be a number, got {value!r}") from None


def above_zero(params: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """The parameter `key` as a number above 0.

    Raises:
        MethodError: It is not.
    """
    value = number(params, key, default)
    if not value > 0:
        raise MethodError(f"{key} must be above 0, got {value:g}")
    return value


def zero_or_more(params: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """The parameter `key` as a number, 0 or above.

    Raises:
        MethodError: It is not.
    """
    value = number(params, key, default)
    if not value >= 0:
        raise MethodError(f"{key} must be 0 or more, got {value:g}")
    return value


def some_weight(**weights: float) -> None:
    """Refuse a loss of which nothing is left.

    Raises:
        MethodError: All weights are 0.
    """
    if not any(weights.values()):
        raise MethodError(f"{', '.join(weights)} are all 0: give one of them a weight")


def several_classes(count: float, name: str) -> None:
    """Refuse two classes, of whose logits the method `name` sees nothing but the order.

    Args:
        count: Of the classes: columns of logits, or `classes` of the data.
        name: Of the method.

    Raises:
        MethodError: There are fewer than 3.
    """
    if count < 3:
        raise MethodError(f"{name} has no signal with {count:g} classes; use the method response")


def combined(*terms: tuple[str, float, Callable[[], Tensor]]) -> dict[str, Tensor]:
    """The sum of weighted terms as `"loss"`, and each of them, unweighted and detached, by name.

    A term of weight 0 is not computed, so that it can bring in neither rounding nor `0 · inf`.

    Args:
        terms: Name, weight and value of each; at least one weight is not 0.
    """
    values = [(name, weight, term()) for name, weight, term in terms if weight != 0]
    loss = sum((weight * value for _, weight, value in values[1:]), values[0][1] * values[0][2])
    return {"loss": loss, **{name: value.detach() for name, _, value in values}}


def required(teacher_logits: Tensor | None) -> Tensor:
    """The teacher's logits, for a method that cannot do without.

    Raises:
        ValueError: There are none.
    """
    if teacher_logits is None:
        raise ValueError("this method needs the teacher's logits")
    return teacher_logits


__all__ = [
    "Answers",
    "FeatureTaps",
    "Method",
    "MethodError",
    "Mixing",
    "above_zero",
    "combined",
    "number",
    "required",
    "several_classes",
    "some_weight",
    "zero_or_more",
]
