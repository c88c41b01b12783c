"""What may be tried: a search space, its parameters and conditions, its presets and its control.

A space is data. It is read by the launcher before torch is imported, so everything heavy (the
student network) hides behind :attr:`SearchSpace.build_student`, which is called on the workers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

from search_spaces.declarations import (
    ACCURACY,
    LATENCY,
    PSNR,
    THIRD_OBJECTIVES,
    WEIGHTED_F1,
    Defaults,
    Objective,
    Preset,
    PublishedColumn,
    PublishedTable,
    Score,
    TeacherChoice,
)
from search_spaces.own_methods import DeclaredMethod, method_problems, methods_json
from search_spaces.parameters import (
    Choice,
    Parameter,
    Params,
    Range,
    SpaceError,
    Value,
    When,
    declaration_problem,
    held,
    nearest,
    parameter_json,
    searched_values,
    shown_values,
)

__all__ = [
    "ACCURACY",
    "EXIT",
    "IMAGENET",
    "LATENCY",
    "PSNR",
    "THIRD_OBJECTIVES",
    "WEIGHTED_F1",
    "WEIGHTS",
    "Choice",
    "Defaults",
    "Objective",
    "Parameter",
    "Params",
    "Preset",
    "PublishedColumn",
    "PublishedTable",
    "Range",
    "Score",
    "SearchSpace",
    "SpaceError",
    "TeacherChoice",
    "Value",
    "When",
    "configuration_key",
    "nearest",
]

# The parameter that says what a student begins with, and its value for pretrained weights.
WEIGHTS: Final = "weights"
IMAGENET: Final = "imagenet"
# A space whose students can be left early has a parameter of this name: the exit that a trial is
# judged by. One training yields the students of all its values.
EXIT = "exit"


@dataclass(frozen=True)
class SearchSpace:
    """What may be tried, declared on one screen.

    Args:
        name: The space's name.
        title: One line for tables and pages.
        description: A paragraph: what is searched and where it was published.
        parameters: The parameters; one that others depend on comes before them.
        control: Overrides that turn any configuration into its undistilled twin; none at all
            where students have no such twin.
        build_student: ``(params, num_classes, shape) -> torch.nn.Module``; called on workers. The
            shape is that of an image, ``(height, width, channels)``.
        describe: A short name of the student that ``params`` builds, such as
            ``[1,1,1,1] stride 2``; students of one name are one architecture.
        presets: Published configurations by preset name.
        published: The tables they come from, by preset name.
        preset_data: The data set of a preset, by preset name, where that is not ``default_data``.
        default_data: The data set used where none is named.
        data_kind: What a data set holds: ``classes``, images with labels, or ``pairs``, images X
            and Y, which are to be translated to each other.
        augment: Whether teacher and students see the data set's padded crops and flips; without,
            they see the images themselves, and one view is all there is.
        teachers: The teacher for each data set; ``"*"`` serves the others. None at all where
            students learn without one, and are compared with the space's default student.
        teacher_varies_with: A parameter whose every value needs a teacher of its own, made with
            that value in the recipe's field of the same name. The default's is the study's own
            teacher, and teaches the students for which the parameter does not exist.
        defaults: Trials, epochs and views for each data set; ``"*"`` serves the others.
        score: What is optimised beside the latency.
        third: What a study keeps small as well, where it was asked to.
        teacher_asked: How trials ask the teacher: ``ahead``, all answers are computed before the
            first trial; ``live``, its network is asked at every step (for feature maps, or for
            images mixed anew); ``both``, where some trials need the one and some the other.
        methods: Methods of one's own, by the value of the parameter ``method`` that names them:
            each ``params -> Method`` (see ``study.distillation.methods``), or ``module:NAME`` of
            such, a file beside the space's or a module installed where workers run.
        pretrained: Torchvision's name of the students' network (``mobilenet_v2``), whose ImageNet
            weights they begin with where the parameter ``weights`` is ``imagenet``.
        cpu_only: Which students run on processors alone, so that no study on GPUs can have them.
        refuses: ``(space, num_classes, shape) -> str | None``: why the space, with parameters
            held as asked, cannot work on such data; found before anything is trained.

    Raises:
        SpaceError: if the declaration contradicts itself.
    """

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    control: Params
    build_student: Callable[[Params, int, tuple[int, int, int]], Any]
    describe: Callable[[Params], str]
    presets: Mapping[str, tuple[Preset, ...]] = field(default_factory=dict)
    published: Mapping[str, PublishedTable] = field(default_factory=dict)
    preset_data: Mapping[str, str] = field(default_factory=dict)
    default_data: str = "cifar10"
    data_kind: Literal["classes", "pairs"] = "classes"
    augment: bool = True
    teachers: Mapping[str, TeacherChoice] = field(default_factory=lambda: {"*": TeacherChoice()})
    teacher_varies_with: str | None = None
    defaults: Mapping[str, Defaults] = field(default_factory=lambda: {"*": Defaults(24, 30, 8)})
    score: Score = ACCURACY
    third: Objective | None = None
    teacher_asked: Literal["ahead", "live", "both"] = "ahead"
    methods: Mapping[str, DeclaredMethod] = field(default_factory=dict)
    pretrained: str | None = None
    cpu_only: When | None = None
    refuses: Callable[["SearchSpace", int, tuple[int, int, int]], str | None] | None = None

    def __post_init__(self) -> None:
        """Check the declaration as a whole, once, when it is made."""
        seen: set[str] = set()
        for parameter in self.parameters:
            problem = declaration_problem(parameter, seen, self.parameters)
            if problem:
                raise SpaceError(f"space {self.name}: {problem}")
            seen.add(parameter.name)
        for problem in (
            *self._problems_of_fixed_configurations(),
            *self._problems_of_names(),
            *self._problems_of_tables(),
            *method_problems(self.methods, self.parameters),
        ):
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

    def _problems_of_names(self) -> Iterator[str]:
        for preset in self.preset_data:
            if preset not in self.presets:
                yield f"preset_data names the preset {preset}{nearest(preset, list(self.presets))}"
        if self.pretrained is not None and WEIGHTS not in {item.name for item in self.parameters}:
            yield f"pretrained {self.pretrained!r}, and no parameter {WEIGHTS} to ask for it"
        for parameter in self.parameters:
            if parameter.when is not None and parameter.when.parameter == EXIT:
                yield f"{parameter.name} depends on {EXIT}, whose values share one training"
        varied = self.teacher_varies_with
        if not self.taught and (varied is not None or self.teacher_asked != "ahead"):
            yield "teacher_varies_with and teacher_asked are of a teacher, and it declares none"
        if varied is None:
            return
        known = [item.name for item in fields(TeacherChoice) if item.name != "why"]
        if varied not in {parameter.name for parameter in self.parameters}:
            yield f"teacher_varies_with {varied!r}, which is no parameter"
        elif varied not in known:
            yield f"teacher_varies_with {varied!r}, which no teacher has{nearest(varied, known)}"

    def _problems_of_tables(self) -> Iterator[str]:
        for name, table in self.published.items():
            known = {column.key for column in table.columns}
            for row in self.presets.get(name, ()):
                for key in row.published.keys() - known:
                    yield (
                        f"preset {name}, {row.label!r}: its table has no column {key!r}"
                        f"{nearest(key, sorted(known))}"
                    )

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
        """Whether ``params`` is a control; nothing is where the space declares none."""
        return bool(self.control) and all(
            params.get(name) == value for name, value in self.control.items()
        )

    def siblings(self, params: Params) -> tuple[dict[str, Value], ...]:
        """Return the configurations that a training of ``params`` yields besides.

        They are the student's other exits, as far as the sampler may draw them; none of a student
        that has no parameter ``exit``.
        """
        if EXIT not in params:
            return ()
        others = [value for value in self.drawn_values(EXIT) if value != params[EXIT]]
        return tuple({**params, EXIT: value} for value in others)

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
            self, parameters=tuple(held(parameter, fixed) for parameter in self.parameters)
        )

    @property
    def taught(self) -> bool:
        """Whether there is a teacher; else students are compared with the default student."""
        return bool(self.teachers)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised: the score on the validation split, the latency, and any third."""
        score = Objective("val_score", f"validation {self.score.name}", self.score.unit, "maximize")
        return (score, LATENCY) if self.third is None else (score, LATENCY, self.third)

    def with_objectives(self, names: Sequence[str]) -> "SearchSpace":
        """Return this space with the third objective among ``names``, if there is one."""
        third = next((THIRD_OBJECTIVES[name] for name in names if name in THIRD_OBJECTIVES), None)
        return replace(self, third=third)

    @property
    def is_finite(self) -> bool:
        """Whether the sampler can draw no more than so many different configurations."""
        return not any(
            isinstance(parameter, Range)
            and parameter.kind == "real"
            and self.can_be_drawn(parameter.name)
            for parameter in self.parameters
        )

    def configurations(self) -> int | None:
        """How many different configurations the sampler can draw; None where not finite."""
        return sum(1 for _ in self.enumerate()) if self.is_finite else None

    def _can_exist(self, parameter: Parameter) -> bool:
        """Whether any configuration that the sampler can draw holds ``parameter``."""
        if parameter.when is None:
            return True
        parent = self.parameter(parameter.when.parameter)
        drawn = searched_values(parent)
        return self._can_exist(parent) and any(v in parameter.when.values for v in drawn)

    def drawn_values(self, name: str) -> tuple[Value, ...]:
        """Return the values of a parameter that the sampler can draw; none if it cannot exist.

        Raises:
            SpaceError: if there is no such parameter.
        """
        parameter = self.parameter(name)
        return searched_values(parameter) if self._can_exist(parameter) else ()

    def can_be_drawn(self, name: str) -> bool:
        """Whether a parameter is searched, and exists in any configuration that can be drawn.

        Raises:
            SpaceError: if there is no such parameter.
        """
        parameter = self.parameter(name)
        return parameter.searched and self._can_exist(parameter)

    def enumerate(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration of a finite space, each once."""
        yield from self._completions({}, 0)

    def _completions(self, params: dict[str, Value], index: int) -> Iterator[dict[str, Value]]:
        """Yield every way to go on from the values of the first ``index`` parameters."""
        while index < len(self.parameters) and not self.is_active(self.parameters[index], params):
            index += 1
        if index == len(self.parameters):
            yield params
            return
        parameter = self.parameters[index]
        for value in searched_values(parameter):
            yield from self._completions({**params, parameter.name: value}, index + 1)

    def samples(self) -> Iterator[dict[str, Value]]:
        """Yield configurations that together show every value, the others at their defaults.

        Of a range, its default and both ends; of a conditional parameter, under a condition that
        it exists under.
        """
        for parameter in self.parameters:
            if not self._can_exist(parameter):
                continue
            condition = self._condition_of(parameter)
            for value in shown_values(parameter):
                yield self.complete({**condition, parameter.name: value})

    def _condition_of(self, parameter: Parameter) -> dict[str, Value]:
        """Values of the parameters that ``parameter`` depends on, under which it exists."""
        when = parameter.when
        if when is None:
            return {}
        parent = self.parameter(when.parameter)
        drawn = (parent.default, *searched_values(parent))
        value = next(value for value in drawn if value in when.values)
        return {**self._condition_of(parent), parent.name: value}

    def epochs_of(self, params: Params, otherwise: int) -> int:
        """Return the epochs of a trial: its parameter ``epochs``, where the space has one."""
        return int(params.get("epochs", otherwise))

    def most_epochs(self) -> int | None:
        """Return the largest value that the parameter ``epochs`` can take; None without one."""
        for parameter in self.parameters:
            if parameter.name == "epochs":
                return int(max(float(value) for value in searched_values(parameter)))
        return None

    def teacher_for(self, data: str) -> TeacherChoice:
        """Return the teacher declared for the data set called ``data``.

        Raises:
            KeyError: if there is none.
        """
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
            "parameters": [parameter_json(parameter) for parameter in self.parameters],
            "score": vars(self.score),
            "objectives": [vars(objective) for objective in self.objectives],
            "control": dict(self.control),
            "data_kind": self.data_kind,
            "augment": self.augment,
            "taught": self.taught,
            "published": self._published_json(preset),
        }
        if self.methods:
            body["methods"] = methods_json(self.methods)
        # A third objective is the plan's wish, and told apart there.
        own = {**body, "objectives": body["objectives"][:2]}
        text = json.dumps(own, sort_keys=True)
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
