"""What is typed for a study: durations, objectives, values of parameters."""

import re
from typing import Literal

from search_spaces.space import Choice, SearchSpace, SpaceError, Value
from study.plan import (
    ALL_VIEWS,
    OBJECTIVES,
    TO_BE_MEASURED,
    PlanError,
    objective_problem,
)


def parse_objectives(text: str, space: SearchSpace) -> tuple[str, ...]:
    """Parse ``score,latency,params`` to names of objectives, the score and the latency first.

    ``accuracy`` and the name of the space's own score are other names of ``score``.

    Raises:
        PlanError: if a name is unknown or named twice, one that has to be is missing, or there are
            more than three.
    """
    same = {"accuracy", space.score.name.lower()}
    names = [name.strip().lower() for name in text.split(",")]
    named = ["score" if name in same else name for name in names]
    problem = objective_problem(named, list(dict.fromkeys([*OBJECTIVES, *sorted(same)])))
    if problem is not None:
        raise PlanError(f"--objectives {text}: {problem}")
    return tuple(sorted(named, key=OBJECTIVES.index))


_PART = r"(\d+(?:\.\d+)?)(s|min|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_BARE = re.compile(r"\d+(?:\.\d+)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Parse ``90s``, ``30m``, ``2h``, ``1.5h``, ``1h30m`` or ``1d`` to seconds.

    Raises:
        PlanError: if ``text`` is none of these.
    """
    asked = text.strip()
    if _BARE.fullmatch(asked):
        if float(asked) == 0:  # of whatever unit
            return 0.0
        raise PlanError(f"--budget {text!r} has no unit; did you mean {asked}m, or {asked}h?")
    if _DURATION.fullmatch(asked) is None:
        raise PlanError(f"--budget {text!r} is not a duration; write it as 1h30m, 30m or 2h")
    parts = re.findall(_PART, asked)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_views(text: str) -> int | Literal["all"]:
    """Parse a number of views, or ``all``.

    Raises:
        PlanError: if ``text`` is neither.
    """
    if text == "all":
        return ALL_VIEWS
    return _whole_number(text, "views", "views", "all")


def parse_cpus(text: str) -> int:
    """Parse a number of CPUs, or ``auto`` to :data:`study.plan.TO_BE_MEASURED`.

    Raises:
        PlanError: if ``text`` is neither.
    """
    if text == "auto":
        return TO_BE_MEASURED
    cpus = _whole_number(text, "cpus-per-trial", "CPUs", "auto")
    if cpus < 1:
        raise PlanError(f"--cpus-per-trial {text} is less than 1; give 1 or more, or auto")
    return cpus


def _whole_number(text: str, option: str, what: str, word: str) -> int:
    if re.fullmatch(r"-?\d+", text) is None:
        raise PlanError(f"--{option} {text!r} is no number of {what}; give 1 or more, or {word}")
    return int(text)


def parse_fixed(items: list[str], space: SearchSpace) -> dict[str, Value]:
    """Parse ``NAME=VALUE`` items to values of the space's parameters.

    Raises:
        PlanError: if an item has no ``=``, its name or value does not fit the space, or a
            parameter is given two values.
    """
    fixed: dict[str, Value] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise PlanError(f"--fix {item!r} is not NAME=VALUE; try --fix {item}=...")
        try:
            value = parse_value(text, space, name)
        except SpaceError as error:
            raise PlanError(f"--fix {item}: {error}") from None
        held = fixed.setdefault(name, value)
        if held != value:
            shown = f"{held:g}" if isinstance(held, float) else held
            raise PlanError(f"--fix {item}: {name} is held at {shown} already; give it one value")
    return fixed


def parse_value(text: str, space: SearchSpace, name: str) -> Value:
    """Parse the value of a parameter.

    Raises:
        SpaceError: if it does not fit the space.
    """
    parameter = space.parameter(name)
    if isinstance(parameter, Choice):
        for choice in parameter.choices:
            if text == str(choice) or (not isinstance(choice, str) and _number(text) == choice):
                return choice
        raise SpaceError(parameter.check(text) or f"{name}={text} does not fit")
    number = _number(text)
    value: Value = text if number is None else number
    if number is not None and parameter.kind == "int" and number.is_integer():
        value = int(number)
    problem = parameter.check(value)
    if problem:
        raise SpaceError(problem)
    return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
