"""The plan of a study: everything that was asked for, validated, serialised and hashed."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from analysis.results import Third
from search_spaces.space import THIRD_OBJECTIVES, SearchSpace, TeacherChoice, Value, nearest
from study.budget import Budget
from study.distillation.runtime import RUNTIMES
from study.distillation.teacher_recipe import (
    NETWORKS,
    SMALLEST_INCEPTION_INPUT,
    STATISTICS,
    Statistics,
    TeacherRecipe,
)

SAMPLERS = ("tpe", "random", "latency-first")
SCHEDULERS = ("pareto", "pause", "none")
TEACHER_OUTPUTS = ("ahead", "live")
# `--views all`: a new view every epoch, of all the crops and flips there are.
ALL_VIEWS: Literal["all"] = "all"
# Data sets of so few crops and flips (25 to 162) that a GPU answers all of them within minutes.
FEW_VIEWS = ("digits", "cifar10", "mnist", "digits2x5", "mnist2x5")
# How a plan says that its space has no teacher.
NO_TEACHER = "none"
TEACHER_WEIGHTS = ("none", "imagenet")
PRECISIONS = ("auto", "float32", "bfloat16")
OBJECTIVES = ("score", "latency", *THIRD_OBJECTIVES)

# May change between two runs of one study: they say how long and where, not what.
_FREE = frozenset(
    {
        "trials",
        "budget_seconds",
        "device_hours",
        "concurrent",
        "address",
        "tracking_uri",
        "data_dir",
        "max_failures",
        "retries",
        "replicates",
        "fuse",
        "device_kind",
        "timing_seconds",
    }
)
# Not in the plans of studies that were made before these could be asked for, and what those meant.
_LATER: Mapping[str, Any] = {
    "teacher_network": None,
    "teacher_size": None,
    "teacher_statistics": "data",
    "replicates": 1,
    "min_score": None,
    "warm_start": None,
    "device_kind": None,
    "runtime": "eager",
    "timing_seconds": 6.0,
    "fuse": "auto",
}
# The fields of the budget, as they are called in a stored plan.
_BUDGET_KEYS = {"trials": "trials", "budget_seconds": "seconds", "device_hours": "device_hours"}


# Where runs that differ in their seed alone are trained as one: on a GPU, where a probe finds that
# faster; wherever it can be done; nowhere.
FUSE = ("auto", "always", "never")

# As the number of CPUs a trial, of ``--cpus-per-trial auto``.
TO_BE_MEASURED = 0


class PlanError(ValueError):
    """Something asked for that cannot be done; the message names the value and the mend."""


@dataclass(frozen=True)
class StudyPlan:
    """Everything that was asked of a study.

    ``space`` is as given (a name, ``FILE.py`` or ``module:ATTR``), ``data`` a data set's name or
    the path of an image folder. Durations are seconds, latencies ms, sizes millions; ``min_score``
    is in the unit of the space's score; ``warm_start`` names a study, its folder or a table;
    ``views`` is a number or :data:`ALL_VIEWS`.
    ``objectives`` are the score and the latency, and at most one more of :data:`OBJECTIVES`.
    ``runtime`` is what runs networks while their latency is taken.
    ``cpus_per_trial`` is :data:`TO_BE_MEASURED` until it was.
    ``replicates`` are the runs in all of every configuration of the front. ``device_kind`` names
    the processor or GPU that trials are to run on, where a cluster has several.
    ``teacher_statistics`` says by whose mean and deviation the teacher's images are normalised.
    ``timing_seconds`` are the most for one latency on the idle device.
    ``fuse`` is one of :data:`FUSE`: whether runs of one configuration are trained as one.
    """

    name: str
    space: str
    data: str
    data_dir: str | None
    image_size: int | None
    train_per_class: int | None
    preset: str | None
    fixed: Mapping[str, Value]
    teacher: str | None
    teacher_weights: str
    teacher_epochs: int | None
    teacher_outputs: str
    views: int | Literal["all"]
    budget: Budget
    max_epochs: int
    sampler: str
    scheduler: str
    seed: int
    max_latency_ms: float | None
    max_params_m: float | None
    precision: str
    concurrent: int | None
    cpus_per_trial: int
    gpus_per_trial: float
    retries: int
    max_failures: float
    storage: str | None
    tracking_uri: str | None
    address: str | None
    objectives: tuple[str, ...] = OBJECTIVES[:2]
    teacher_network: str | None = None
    teacher_size: int | None = None
    teacher_statistics: Statistics = "data"
    replicates: int = 1
    min_score: float | None = None
    warm_start: str | None = None
    device_kind: str | None = None
    runtime: str = "eager"
    timing_seconds: float = 6.0
    fuse: str = "auto"

    def __post_init__(self) -> None:
        """Check every field that can be checked alone."""
        for problem in _problems(self):
            raise PlanError(problem)

    @property
    def fuses_runs(self) -> bool:
        """Whether runs are handed out together; on processors it mostly loses to fuse them."""
        return self.fuse == "always" or (self.fuse == "auto" and self.gpus_per_trial > 0)

    @property
    def data_folder(self) -> Path | None:
        """Where data sets lie; None for the default."""
        return Path(self.data_dir) if self.data_dir else None

    @property
    def number_of_views(self) -> int | None:
        """Views of the data, taken in turn; None for all there are, a new one every epoch."""
        return None if self.views == ALL_VIEWS else self.views

    @property
    def threads(self) -> int:
        """CPUs, and so threads, of a trial; one where that is still to be measured."""
        return self.cpus_per_trial or 1

    @property
    def devices_per_trial(self) -> float:
        """GPUs that a trial holds, or CPUs where it uses none: what device-hours count."""
        return self.gpus_per_trial or float(self.threads)

    @property
    def third(self) -> Third | None:
        """What is kept small beside the latency, as a field of a network's size; None of two."""
        if "params" in self.objectives:
            return "params_m"
        return "flops_m" if "flops" in self.objectives else None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, flat but for ``fixed`` and ``objectives``."""
        body = {**asdict(self), "fixed": dict(self.fixed), "objectives": list(self.objectives)}
        del body["budget"]
        bounds = {key: getattr(self.budget, name) for key, name in _BUDGET_KEYS.items()}
        return {**body, **bounds}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "StudyPlan":
        """Rebuild a stored plan.

        Raises:
            PlanError: if fields are missing or unknown (a record of another version).
        """
        names = {field.name for field in fields(cls)} - {"budget"}
        body = {**_LATER, **body}
        if set(body) != names | set(_BUDGET_KEYS):
            odd = ", ".join(sorted((names | set(_BUDGET_KEYS)) ^ set(body)))
            raise PlanError(f"the stored plan was written by another version (fields: {odd})")
        budget = Budget(**{name: body[key] for key, name in _BUDGET_KEYS.items()})
        values = {name: body[name] for name in names}
        return cls(**{**values, "objectives": tuple(body["objectives"])}, budget=budget)

    def identity(
        self,
        *,
        space_hash: str,
        data_hash: str | None,
        teacher_key: str | None,
        handed_over: str | None = None,
    ) -> dict[str, Any]:
        """Return what makes two plans the same study: the question, not how long or where.

        ``handed_over`` is a hash of what the warm start does.
        """
        asked = {
            name: value
            for name, value in self.to_json().items()
            # A study made before something could be asked for has not asked for it.
            if name not in _FREE and (name not in _LATER or value != _LATER[name])
        }
        if handed_over is not None:
            asked["handed_over"] = handed_over
        return {**asked, "space_hash": space_hash, "data_hash": data_hash, "teacher": teacher_key}


def recipe_of(choice: TeacherChoice, **overrides: Any) -> TeacherRecipe:
    """Return the recipe that a space's choice of a teacher means, with some fields overridden.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if they do not fit together.
    """
    declared = {name: value for name, value in vars(choice).items() if name != "why"}
    return TeacherRecipe(**{**declared, **overrides})


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return 16 hex digits of a plan's identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


_CHANGED = {
    "handed_over": "what the warm start hands over has changed",
    "data_hash": "the images or labels of the data have changed",
    "space_hash": "the space's parameters, or its own methods, have changed",
    "teacher": "the teacher is another",
}


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Say in one clause each where two identities differ: ``seed 0, now 1``."""
    return [
        _CHANGED.get(name, f"{name} {_meant(stored, name)!r}, now {_meant(asked, name)!r}")
        for name in sorted({*stored, *asked})
        if stored.get(name) != asked.get(name)
    ]


def _meant(identity: Mapping[str, Any], name: str) -> Any:
    return identity.get(name, _LATER.get(name))


def _problems(plan: StudyPlan) -> list[str]:
    at_least = [
        ("max-epochs", plan.max_epochs, 1),
        ("views", plan.number_of_views, 1),
        ("cpus-per-trial", plan.cpus_per_trial, TO_BE_MEASURED),
        ("gpus-per-trial", plan.gpus_per_trial, 0),
        ("seed", plan.seed, 0),
        ("retries", plan.retries, 0),
        ("train-per-class", plan.train_per_class, 2),
        ("teacher-epochs", plan.teacher_epochs, 1),
        ("teacher-size", plan.teacher_size, SMALLEST_INCEPTION_INPUT),
        ("concurrent", plan.concurrent, 1),
        ("image-size", plan.image_size, 8),
        ("replicates", plan.replicates, 1),
    ]
    problems = [
        f"--{name} {value} is less than {least}; give {least} or more"
        for name, value, least in at_least
        if value is not None and not value >= least
    ]
    problems += [
        f"--{name} {value:g} is not above 0; give a positive number of {unit}"
        for name, value, unit in (
            ("max-latency", plan.max_latency_ms, "milliseconds"),
            ("max-params", plan.max_params_m, "millions"),
            ("timing-seconds", plan.timing_seconds, "seconds"),
        )
        if value is not None and not value > 0
    ]
    if plan.seed >= 2**32:
        problems.append(f"--seed {plan.seed} is too large; give less than {2**32}")
    if plan.min_score is not None and not plan.min_score > 0:
        problems.append(f"--min-score {plan.min_score:g} is not above 0; give more")
    wrong = objective_problem(plan.objectives, OBJECTIVES)
    if wrong is not None:
        problems.append(f"--objectives {','.join(plan.objectives)}: {wrong}")
    problems += plan.budget.problems()
    if not 0 < plan.max_failures <= 1:
        problems.append(
            f"--max-failures {plan.max_failures:g} is not a share of the trials; "
            "give a number above 0 and at most 1"
        )
    problems += [
        f"--{name} {value!r} is unknown{nearest(value, known)}"
        for name, value, known in (
            ("sampler", plan.sampler, SAMPLERS),
            ("scheduler", plan.scheduler, SCHEDULERS),
            ("teacher-outputs", plan.teacher_outputs, (*TEACHER_OUTPUTS, NO_TEACHER)),
            ("teacher-weights", plan.teacher_weights, TEACHER_WEIGHTS),
            ("teacher-network", plan.teacher_network, NETWORKS),
            ("teacher-statistics", plan.teacher_statistics, STATISTICS),
            ("precision", plan.precision, PRECISIONS),
            ("runtime", plan.runtime, RUNTIMES),
            ("fuse", plan.fuse, FUSE),
        )
        if value is not None and value not in known
    ]
    if plan.warm_start and plan.sampler == "random" and plan.scheduler != "pause":
        problems.append(
            f"--warm-start {plan.warm_start}: --sampler random learns from nothing; "
            "ask for tpe or latency-first"
        )
    if plan.teacher is not None and plan.teacher_weights != "none":
        problems.append(
            "--teacher and --teacher-weights exclude each other: a checkpoint brings its weights"
        )
    return problems


def objective_problem(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Say what is wrong with the names of objectives, and the mend; ``known`` may be asked for."""
    mend = "give score,latency, and with a comma params or flops"
    unknown = next((name for name in names if name not in OBJECTIVES), None)
    if unknown is not None:
        return f"{unknown!r} is unknown{nearest(unknown, known)}"
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        return f"{repeated} is named twice; {mend}"
    missing = next((name for name in OBJECTIVES[:2] if name not in names), None)
    if missing is not None:
        return f"every study optimises the {missing} too; {mend}"
    return None if len(names) <= 3 else f"{len(names)} are more than three; {mend}"


def check_preset(space: SearchSpace, preset: str | None) -> None:
    """Refuse a preset that the space does not have.

    Raises:
        PlanError: naming the presets there are.
    """
    if preset is not None and preset not in space.presets:
        known = tuple(space.presets)
        end = nearest(preset, known) if known else "; the space has none"
        raise PlanError(f"--preset {preset!r} is unknown in space {space.name}{end}")


def check_writable(folder: Path) -> None:
    """Refuse a studies folder that cannot be made or written, without making it.

    Raises:
        PlanError: naming the folder that stands in the way.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise PlanError(f"--studies {folder}: {existing} is a file; name a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise PlanError(
            f"--studies {folder}: cannot write in {existing} ({error.strerror}); "
            "name another folder"
        ) from None
