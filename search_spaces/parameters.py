"""What a parameter of a search space is: its values, its default, the condition it exists under."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

Value: TypeAlias = str | int | float | bool
Params: TypeAlias = Mapping[str, Value]


class SpaceError(ValueError):
    """A space, or a configuration of it, that cannot be used; the message names the mend."""


@dataclass(frozen=True)
class When:
    """The condition under which a parameter exists: ``parameter`` takes one of ``values``."""

    parameter: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Choice:
    """A parameter that takes one of a few values.

    Args:
        name: The parameter's name.
        choices: Its values.
        help: One line for the user.
        default_value: The value taken where nothing else is asked for; the first one if omitted.
        architecture: Whether the value changes the student network (and so its latency).
        when: The condition under which the parameter exists.
        searched: Whether the sampler varies it; otherwise it keeps its default unless a preset
            or ``--fix`` says otherwise.
    """

    name: str
    choices: tuple[Value, ...]
    help: str
    default_value: Value | None = None
    architecture: bool = False
    when: When | None = None
    searched: bool = True

    @property
    def default(self) -> Value:
        """The value taken where nothing else is asked for."""
        return self.choices[0] if self.default_value is None else self.default_value

    def check(self, value: Value) -> str | None:
        """Say what is wrong with ``value``, or nothing."""
        if any(value == choice and type(value) is type(choice) for choice in self.choices):
            return None
        allowed = ", ".join(str(choice) for choice in self.choices)
        return f"{self.name}={value} is not one of {allowed}"

    def to_json(self) -> dict[str, Any]:
        """Describe the parameter for the record."""
        return {"kind": "choice", "choices": list(self.choices)}


KINDS = ("real", "int")


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, both included.

    ``kind="int"`` makes it whole. The default is ``default_value``, or the middle of the range.
    """

    name: str
    low: float
    high: float
    help: str
    kind: Literal["real", "int"] = "real"
    log: bool = False
    default_value: float | None = None
    architecture: bool = False
    when: When | None = None
    searched: bool = True

    @property
    def default(self) -> Value:
        """The value taken where nothing else is asked for."""
        value = self.default_value
        if value is None:
            value = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return round(value) if self.kind == "int" else float(value)

    def check(self, value: Value) -> str | None:
        """Say what is wrong with ``value``, or nothing."""
        if isinstance(value, (str, bool)) or not math.isfinite(value):
            return f"{self.name}={value} is not a number"
        if self.kind == "int" and value != int(value):
            return f"{self.name}={value} is not a whole number"
        if not self.low <= value <= self.high:
            return f"{self.name}={value} is outside {self.low:g} to {self.high:g}"
        return None

    def to_json(self) -> dict[str, Any]:
        """Describe the parameter for the record."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "log": self.log}


Parameter: TypeAlias = Choice | Range


def nearest(word: str, words: Sequence[str]) -> str:
    """Return the end of a refusal: the nearest valid word, or all of them."""
    spelt = {each.lower(): each for each in reversed(words)}
    close = difflib.get_close_matches(word.lower(), spelt, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {spelt[close[0]]}?"
    return f"; choose from {', '.join(words)}" if words else ""


def held(parameter: Parameter, fixed: Params) -> Parameter:
    """Return the parameter, held at its value in ``fixed`` if it has one there."""
    if parameter.name not in fixed:
        return parameter
    value = fixed[parameter.name]
    if isinstance(parameter, Range):
        return replace(parameter, default_value=float(value), searched=False)
    return replace(parameter, default_value=value, searched=False)


def searched_values(parameter: Parameter) -> tuple[Value, ...]:
    """Return the values a sampler can draw; of a real range, its default stands for all."""
    if not parameter.searched:
        return (parameter.default,)
    if isinstance(parameter, Choice):
        return parameter.choices
    if parameter.kind == "real":
        return (parameter.default,)
    return tuple(range(int(parameter.low), int(parameter.high) + 1))


def shown_values(parameter: Parameter) -> tuple[Value, ...]:
    """Return the values that stand for all a sampler can draw: of a range, default and ends."""
    if isinstance(parameter, Choice) or not parameter.searched:
        return searched_values(parameter)
    ends = (parameter.low, parameter.high)
    whole = parameter.kind == "int"
    return (parameter.default, *(round(end) if whole else float(end) for end in ends))


def parameter_json(parameter: Parameter) -> dict[str, Any]:
    """Describe a parameter for the record."""
    when = parameter.when
    return {
        "name": parameter.name,
        **parameter.to_json(),
        "default": parameter.default,
        "help": parameter.help,
        "architecture": parameter.architecture,
        "searched": parameter.searched,
        "when": None if when is None else {"parameter": when.parameter, "values": [*when.values]},
    }


def declaration_problem(
    parameter: Parameter, seen: set[str], parameters: Sequence[Parameter]
) -> str | None:
    """Say how a parameter contradicts itself or those declared before it, or nothing.

    Args:
        parameter: The parameter.
        seen: Names of the parameters declared before it.
        parameters: All parameters of the space.
    """
    name = parameter.name
    if name in seen:
        return f"parameter {name} is declared twice; give each a name of its own"
    if isinstance(parameter, Choice) and len(set(parameter.choices)) != len(parameter.choices):
        return f"parameter {name} lists a choice twice"
    if isinstance(parameter, Choice) and not parameter.choices:
        return f"parameter {name} has no choices"
    if isinstance(parameter, Range):
        problem = _range_problem(parameter)
        if problem is not None:
            return problem
    problem = parameter.check(parameter.default)
    if problem:
        return f"the default of {name} does not fit: {problem}"
    when = parameter.when
    if when is not None:
        if when.parameter not in seen:
            known = any(other.name == when.parameter for other in parameters)
            cause = "comes after it; declare it before" if known else "does not exist"
            mend = "" if known else nearest(when.parameter, sorted(seen))
            return f"parameter {name} depends on {when.parameter}, which {cause}{mend}"
        parent = next(other for other in parameters if other.name == when.parameter)
        for value in when.values:
            problem = parent.check(value)
            if problem:
                return f"parameter {name} can never exist: {problem}"
    return None


def _range_problem(parameter: Range) -> str | None:
    """Say what is wrong with a range's own numbers, or nothing."""
    name, low, high = parameter.name, parameter.low, parameter.high
    if parameter.kind not in KINDS:
        return f"parameter {name} is of no kind {parameter.kind!r}{nearest(parameter.kind, KINDS)}"
    if not low < high:
        return f"parameter {name} has no range from {low} to {high}; give the smaller bound first"
    if parameter.log and low <= 0:
        return (
            f"parameter {name} has no range from {low} to {high} by its logarithm; "
            "give a low above 0, or leave out log=True"
        )
    return None
