"""Where a parameter's or an objective's value lies on an axis of its own, as a share from 0 to 1.

Used by the small charts that are drawn as SVG: slices and parallel coordinates.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.charts.style import log_ticks
from analysis.formatting import value as shown
from analysis.record import StudyResults
from analysis.results import TrialResult
from analysis.stored_plan import Parameter

_INSET = 0.06  # between the outermost values and the ends of an axis
_MOST_SINGLE = 9  # integers up to so many get a tick each


@dataclass(frozen=True)
class Scale:
    """An axis: what it is called, and how values are placed on it.

    Args:
        name: of the parameter or the objective.
        choices: values that are evenly spaced, in order; None of a scale of numbers.
        low: lower end.
        high: upper end.
        log: whether numbers are placed by their logarithm.
    """

    name: str
    choices: tuple[Any, ...] | None
    low: float
    high: float
    log: bool = False

    @classmethod
    def of_choices(cls, name: str, choices: Iterable[Any]) -> "Scale":
        """A scale of evenly spaced values."""
        return cls(name, tuple(choices), 0.0, 1.0)

    @classmethod
    def of_numbers(cls, name: str, values: Sequence[float], *, log: bool = False) -> "Scale":
        """A scale around some numbers; by logarithm only where all are above zero."""
        low, high = min(values), max(values)
        if low == high:
            low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
        return cls(name, None, low, high, log and low > 0)

    def share(self, value: Any) -> float | None:
        """The place of a value from 0 to 1; None of one that is not on the scale."""
        if self.choices is not None:
            if value not in self.choices:
                return None
            return (self.choices.index(value) + 0.5) / len(self.choices)
        if isinstance(value, str) or value is None or not math.isfinite(value):
            return None
        if self.log and value <= 0:
            return None
        low, high, place = self.low, self.high, float(value)
        if self.log:
            low, high, place = math.log(low), math.log(high), math.log(place)
        return _INSET + (1 - 2 * _INSET) * (place - low) / (high - low)

    def ticks(self, most: int = 5) -> tuple[tuple[float, str], ...]:
        """Places and words of a few values; of choices, of all."""
        if self.choices is not None:
            return tuple(((i + 0.5) / len(self.choices), shown(c)) for i, c in
                         enumerate(self.choices))  # fmt: skip
        if self.log:
            values = log_ticks(self.low, self.high)
            values = values[:: math.ceil(len(values) / most)]
        else:
            values = _even(self.low, self.high, most)
        places = ((self.share(value), f"{value:.6g}") for value in values)
        return tuple((place, words) for place, words in places if place is not None)


def _even(low: float, high: float, most: int) -> list[float]:
    """At most so many evenly spaced round numbers between two bounds."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    while (high - low) / step > most:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{count * step:.6g}") for count in range(first, last + 1)]


def varying_parameters(
    results: StudyResults, trials: Sequence[TrialResult]
) -> tuple[tuple[Parameter, Scale], ...]:
    """The parameters that took two values or more among some trials, in the space's order."""
    found = []
    for parameter in results.plan.space.parameters:
        name = parameter.name
        values = [trial.params[name] for trial in trials if name in trial.params]
        if len(set(map(str, values))) < 2:
            continue
        found.append((parameter, _scale(parameter, values)))
    return tuple(found)


def _scale(parameter: Parameter, values: Sequence[Any]) -> Scale:
    if parameter.choices is not None:
        tried = [choice for choice in parameter.choices if choice in values]
        extra = [value for value in dict.fromkeys(values) if value not in tried]
        return Scale.of_choices(parameter.name, [*tried, *extra])
    whole = sorted({int(value) for value in values}) if parameter.kind == "int" else []
    if whole and len(whole) <= _MOST_SINGLE:
        return Scale.of_choices(parameter.name, whole)
    return Scale.of_numbers(parameter.name, values, log=bool(parameter.log))
