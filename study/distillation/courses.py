"""Courses: how a number such as the temperature changes from the first epoch to the last."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["fixed", "exponential", "linear", "cosine"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class CourseError(ValueError):
    """A course whose parameters contradict each other; the message names them."""


@dataclass(frozen=True)
class Course:
    """A number for every epoch.

    Attributes:
        start: In the first epoch, and in every one of a fixed course.
        end: In the last epoch (linear, cosine), or where an exponential course stops once it gets
            there: its floor, or its ceiling where it rises. A fixed course has none.
        kind: `fixed`; `exponential`, `start * decay**epoch` until it reaches `end`; `linear`; or
            `cosine`, half a cosine from start to end.
        decay: Factor of an exponential course from one epoch to the next.
    """

    start: float
    end: float | None = None
    kind: Kind = "fixed"
    decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an end that the course never comes nearer to."""
        if self.kind not in KINDS:
            raise CourseError(f"no schedule {self.kind!r}; choose {', '.join(KINDS)}")
        for value in (self.start, self.end, self.decay):
            if value is not None and not math.isfinite(value):
                raise CourseError(f"a schedule is made of finite numbers, got {value:g}")
        if self.kind == "fixed":
            return
        if self.end is None:
            raise CourseError(f"a {self.kind} schedule needs the value it ends at")
        if self.kind == "exponential":
            self._check_decay(self.end)

    def _check_decay(self, end: float) -> None:
        if not self.start > 0:
            raise CourseError(f"an exponential schedule starts above 0, got {self.start:g}")
        if not self.decay > 0:
            raise CourseError(f"a decay must be above 0, got {self.decay:g}")
        if end == self.start:
            return
        if self.decay == 1:
            raise CourseError(f"an exponential schedule to {end:g} needs a decay other than 1")
        if (end < self.start) != (self.decay < 1):
            raise CourseError(f"decay {self.decay:g} leads from {self.start:g} away from {end:g}")

    def at(self, epoch: int, epochs: int) -> float:
        """The value in an epoch.

        Args:
            epoch: 0 to `epochs - 1`.
            epochs: Of the whole training.
        """
        if self.kind == "fixed" or self.end is None:
            return self.start
        if self.kind == "exponential":
            return self._decayed(epoch, self.end)
        share = epoch / (epochs - 1) if epochs > 1 else 0.0
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        # Written so that both ends are met to the last bit: an α of 1 must not become more.
        return (1 - share) * self.start + share * self.end

    def _decayed(self, epoch: int, end: float) -> float:
        if end == self.start:
            return end  # whatever the decay, which then leads nowhere
        if end < self.start:
            return max(end, self.start * self.decay**epoch)
        # Compared as logarithms: the power may be beyond a float long after the end is reached.
        if epoch * math.log(self.decay) >= math.log(end / self.start):
            return end
        return self.start * self.decay**epoch


def course_of(params: Mapping[str, Any], name: str, default: float | None = None) -> Course:
    """The course of the number called `name`.

    Args:
        params: `name` is its start; `name_schedule` its kind (default `fixed`), `name_end` its
            end and `name_decay` its decay. `name_end_factor` gives the end as a multiple of the
            start instead, so that a space can hold it below whatever start is drawn. A course that
            no schedule changes needs `name` alone.
        name: Such as `temperature`.
        default: The start, where `params` has none.

    Raises:
        CourseError: A value is missing, no number, or contradicts another.
    """
    start = _number(params, name, default)
    if start is None:
        raise CourseError(f"no value for {name}")
    end = _number(params, f"{name}_end", None)
    factor = _number(params, f"{name}_end_factor", None)
    if factor is not None:
        if end is not None:
            raise CourseError(f"{name} ends at {name}_end or by {name}_end_factor; give one")
        end = start * factor
    decay = _number(params, f"{name}_decay", 1.0)
    try:
        return Course(start, end, params.get(f"{name}_schedule", "fixed"), decay or 0.0)
    except CourseError as error:
        raise CourseError(f"{name}: {error}") from None


def _number(params: Mapping[str, Any], key: str, default: float | None) -> float | None:
    value = params.get(key, default)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise CourseError(f"{key} must be a number, got {value!r}") from None
