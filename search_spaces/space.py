"""What may be tried: a search space, its parameters and conditions, its presets and its control.

A space is data. It is read by the launcher before torch is imported, so everything heavy (the
student network) hides behind :attr:`SearchSpace.build_student`, which is called on the workers.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
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


@dataclass(frozen=True)
class Objective:
    """One thing a study optimises."""

    key: str
    label: str
    unit: str
    direction: Literal["maximize", "minimize"]


ACCURACY = Objective("val_accuracy", "validation accuracy", "%", "maximize")
LATENCY = Objective("latency_ms", "latency (batch 1)", "ms", "minimize")


@dataclass(frozen=True)
class Preset:
    """A published configuration, tried as a seed point; ``params`` override the defaults."""

    label: str
    params: Params
    published: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class PublishedColumn:
    """A column of a published table. ``key`` is one of accuracy, train_seconds, time_ratio."""

    key: str
    label: str
    unit: str


@dataclass(frozen=True)
class PublishedTable:
    """The table of the paper that a preset reproduces."""

    source: str
    columns: tuple[PublishedColumn, ...]
    note: str | None = None


@dataclass(frozen=True)
class TeacherChoice:
    """The teacher a space declares for a data set: a bottleneck ResNet and how it is trained."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    why: str = ""


@dataclass(frozen=True)
class Defaults:
    """How much a study of the space does on a data set unless told otherwise."""

    trials: int
    max_epochs: int
    views: int


@dataclass(frozen=True)
class SearchSpace:
    """What may be tried, declared on one screen.

    Args:
        name: The space's name.
        title: One line for tables and pages.
        description: A paragraph: what is searched and where it was published.
        parameters: The parameters; one that others depend on comes before them.
        control: Overrides that turn any configuration into its undistilled twin.
        build_student: ``(params, num_classes, channels) -> torch.nn.Module``; called on workers.
        describe: A short name of the student that ``params`` builds, such as
            ``[1,1,1,1] stride 2``; students of one name are one architecture.
        presets: Published configurations by preset name.
        published: The tables they come from, by preset name.
        default_data: The data set used where none is named.
        teachers: The teacher for each data set; ``"*"`` serves the others.
        defaults: Trials, epochs and views for each data set; ``"*"`` serves the others.
        objectives: What is optimised.

    Raises:
        SpaceError: if the declaration contradicts itself.
    """

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    control: Params
    build_student: Callable[[Params, int, int], Any]
    describe: Callable[[Params], str]
    presets: Mapping[str, tuple[Preset, ...]] = field(default_factory=dict)
    published: Mapping[str, PublishedTable] = field(default_factory=dict)
    default_data: str = "cifar10"
    teachers: Mapping[str, TeacherChoice] = field(default_factory=lambda: {"*": TeacherChoice()})
    defaults: Mapping[str, Defaults] = field(default_factory=lambda: {"*": Defaults(24, 30, 8)})
    objectives: tuple[Objective, ...] = (ACCURACY, LATENCY)

    def __post_init__(self) -> None:
        """Check the declaration as a whole, once, when it is made."""
        seen: set[str] = set()
        for parameter in self.parameters:
            problem = _declaration_problem(parameter, seen, self.parameters)
            if problem:
                raise SpaceError(f"space {self.name}: {problem}")
            seen.add(parameter.name)
        for problem in self._problems_of_fixed_configurations():
            raise SpaceError(f"space {self.name}: {problem}")

    def _problems_of_fixed_configurations(self) -> Iterator[str]:
        for label, params in [("the control", self.control), *self._preset_params()]:
            for name, value in params.items():
                try:
                    problem = self.parameter(name).check(value)
                except SpaceError as error:
                    problem = str(error)
                if problem:
                    yield f"{label}: {problem}"

    def _preset_params(self) -> list[tuple[str, Params]]:
        return [
            (f"preset {name}, {preset.label!r}", preset.params)
            for name, presets in self.presets.items()
            for preset in presets
        ]

    def parameter(self, name: str) -> Parameter:
        """Return the parameter called ``name``.

        Raises:
            SpaceError: if there is none; the message names the nearest one.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = [parameter.name for parameter in self.parameters]
        raise SpaceError(f"no parameter {name!r} in space {self.name}{nearest(name, names)}")

    def is_active(self, parameter: Parameter, params: Params) -> bool:
        """Whether ``parameter`` exists, given the values of those declared before it."""
        when = parameter.when
        return when is None or (when.parameter in params and params[when.parameter] in when.values)

    def complete(self, overrides: Params) -> dict[str, Value]:
        """Return a whole configuration: overrides, defaults elsewhere, inactive ones left out.

        Raises:
            SpaceError: if a name or a value does not fit.
        """
        for name, value in overrides.items():
            problem = self.parameter(name).check(value)
            if problem:
                raise SpaceError(problem)
        params: dict[str, Value] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, params):
                params[parameter.name] = overrides.get(parameter.name, parameter.default)
        return params

    def control_of(self, params: Params) -> dict[str, Value]:
        """Return the undistilled twin of ``params``: the same student, recipe and data."""
        return self.complete({**params, **self.control})

    def is_control(self, params: Params) -> bool:
        """Whether ``params`` trains without a teacher."""
        return all(params.get(name) == value for name, value in self.control.items())

    def with_fixed(self, fixed: Params) -> "SearchSpace":
        """Return this space with some parameters held at one value (``--fix NAME=VALUE``).

        Raises:
            SpaceError: if a name or a value does not fit.
        """
        for name, value in fixed.items():
            problem = self.parameter(name).check(value)
            if problem:
                raise SpaceError(problem)
        return replace(
            self, parameters=tuple(_held(parameter, fixed) for parameter in self.parameters)
        )

    def configurations(self) -> int | None:
        """How many different configurations the sampler can draw; None where not finite."""
        for parameter in self.parameters:
            real = isinstance(parameter, Range) and parameter.kind == "real"
            if real and parameter.searched and self._can_exist(parameter):
                return None
        return sum(1 for _ in self.enumerate())

    def _can_exist(self, parameter: Parameter) -> bool:
        """Whether any configuration that the sampler can draw holds ``parameter``."""
        if parameter.when is None:
            return True
        parent = self.parameter(parameter.when.parameter)
        drawn = _searched_values(parent)
        return self._can_exist(parent) and any(v in parameter.when.values for v in drawn)

    def enumerate(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration of a finite space, each once."""
        seen: set[tuple[tuple[str, Value], ...]] = set()
        for values in product(*(_searched_values(parameter) for parameter in self.parameters)):
            drawn = dict(zip((p.name for p in self.parameters), values, strict=True))
            params = self.complete(drawn)
            key = configuration_key(params)
            if key not in seen:
                seen.add(key)
                yield params

    def teacher_for(self, data: str) -> TeacherChoice:
        """Return the teacher declared for the data set called ``data``."""
        return self.teachers.get(data) or self.teachers["*"]

    def defaults_for(self, data: str) -> Defaults:
        """Return the default budget declared for the data set called ``data``."""
        return self.defaults.get(data) or self.defaults["*"]

    def to_json(self, preset: str | None = None) -> dict[str, Any]:
        """Describe the space for the record: all that a report needs, without importing it."""
        body: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "parameters": [_parameter_json(parameter) for parameter in self.parameters],
            "objectives": [vars(objective) for objective in self.objectives],
            "control": dict(self.control),
            "published": self._published_json(preset),
        }
        text = json.dumps(body, sort_keys=True)
        return {**body, "hash": hashlib.sha256(text.encode()).hexdigest()[:16]}

    def _published_json(self, preset: str | None) -> dict[str, Any] | None:
        if preset is None or preset not in self.published:
            return None
        table = self.published[preset]
        return {
            "source": table.source,
            "note": table.note,
            "columns": [vars(column) for column in table.columns],
            "rows": [
                {"label": row.label, "values": dict(row.published), "note": row.note}
                for row in self.presets[preset]
            ],
        }


def configuration_key(params: Params) -> tuple[tuple[str, Value], ...]:
    """Return what tells two configurations apart; numbers are compared to four digits."""
    return tuple(
        (name, float(f"{value:.4g}") if isinstance(value, float) else value)
        for name, value in sorted(params.items())
    )


def nearest(word: str, words: Sequence[str]) -> str:
    """Return the end of a refusal: the nearest valid word, or all of them."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; choose from {', '.join(words)}" if words else ""


def _held(parameter: Parameter, fixed: Params) -> Parameter:
    if parameter.name not in fixed:
        return parameter
    value = fixed[parameter.name]
    if isinstance(parameter, Range):
        return replace(parameter, default_value=float(value), searched=False)
    return replace(parameter, default_value=value, searched=False)


def _searched_values(parameter: Parameter) -> tuple[Value, ...]:
    if not parameter.searched:
        return (parameter.default,)
    if isinstance(parameter, Choice):
        return parameter.choices
    if parameter.kind == "real":
        return (parameter.default,)
    return tuple(range(int(parameter.low), int(parameter.high) + 1))


def _parameter_json(parameter: Parameter) -> dict[str, Any]:
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


def _declaration_problem(
    parameter: Parameter, seen: set[str], parameters: Sequence[Parameter]
) -> str | None:
    name = parameter.name
    if name in seen:
        return f"parameter {name} is declared twice"
    if isinstance(parameter, Choice) and len(set(parameter.choices)) != len(parameter.choices):
        return f"parameter {name} lists a choice twice"
    if isinstance(parameter, Choice) and not parameter.choices:
        return f"parameter {name} has no choices"
    if isinstance(parameter, Range) and (
        not parameter.low < parameter.high or (parameter.log and parameter.low <= 0)
    ):
        return f"parameter {name} has no range from {parameter.low} to {parameter.high}"
    problem = parameter.check(parameter.default)
    if problem:
        return f"the default of {name} does not fit: {problem}"
    when = parameter.when
    if when is not None:
        if when.parameter not in seen:
            known = any(other.name == when.parameter for other in parameters)
            cause = "comes after it" if known else "does not exist"
            return f"parameter {name} depends on {when.parameter}, which {cause}"
        parent = next(other for other in parameters if other.name == when.parameter)
        for value in when.values:
            problem = parent.check(value)
            if problem:
                return f"parameter {name} can never exist: {problem}"
    return None
