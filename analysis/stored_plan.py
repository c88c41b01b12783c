"""What was asked, as stored with the study: the plan, its search space, its data.

A report needs nothing else of a space (names, units, directions, published table), so it can be
made where the space itself is not installed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.formatting import NBSP, joined
from analysis.results import JOURNAL_FILE, PLAN_FILE, PLAN_FORMAT, REPORT_FOLDER, Third
from analysis.stored import ResultFormatError, Stored


class RecordReadError(ValueError):
    """A folder that holds no study, or a damaged one; the message names the path and the mend."""


@dataclass(frozen=True)
class Condition(Stored):
    """A parameter applies only while another one takes one of some values."""

    parameter: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter(Stored):
    """One parameter of the space; `architecture` says whether it shapes the student network.

    One that is not `searched` has its `default`, but in a preset's rows.
    """

    name: str
    kind: Literal["choice", "int", "real"]
    architecture: bool
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    help: str | None = None
    when: Condition | None = None
    searched: bool = True
    default: Any = None


@dataclass(frozen=True)
class Score(Stored):
    """What tells a good student from a bad one, such as accuracy in %; `best` is perfection."""

    name: str
    unit: str
    best: float

    @property
    def title(self) -> str:
        """The name as it begins a sentence or a title."""
        return f"{self.name[:1].upper()}{self.name[1:]}"

    @property
    def points(self) -> str:
        """What a difference of two scores is counted in: points for percent, else the unit."""
        return "points" if self.unit == "%" else self.unit

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the best there is, such as of right answers."""
        return self.unit == "%"

    @property
    def one_point(self) -> str:
        """A difference of one, in words."""
        return "one point" if self.unit == "%" else f"1{NBSP}{self.unit}"

    @property
    def has_majority_floor(self) -> bool:
        """Whether naming the largest class of all, and nothing else, is what the floor stands for.

        It does for a score that weighs the classes by their size; for accuracy it is chance.
        """
        return self.name == "weighted F1"

    @property
    def floor_name(self) -> str:
        """What the floor stands for, in words."""
        if self.has_majority_floor:
            return "always naming the largest class"
        if self.name == "PSNR":
            return "always answering the mean training image"
        return f"chance {self.name}" if self.name == "accuracy" else "an uninformed answer"


@dataclass(frozen=True)
class Objective(Stored):
    """One quantity a study optimises, with its unit and direction."""

    key: Literal["val_score", "latency_ms", "params_m", "flops_m"]
    label: str
    unit: str
    direction: Literal["maximize", "minimize"]


@dataclass(frozen=True)
class PublishedColumn(Stored):
    """A column of a published table; `key` names the measured quantity to set beside it."""

    key: str
    label: str
    unit: str


@dataclass(frozen=True)
class PublishedRow(Stored):
    """A published row; a preset trial of the same label measures it."""

    label: str
    values: Mapping[str, float]
    note: str | None = None


@dataclass(frozen=True)
class PublishedTable(Stored):
    """A table from the literature, to be read beside what was measured."""

    source: str
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    note: str | None = None


@dataclass(frozen=True)
class Space(Stored):
    """The search space; `control` holds the values that turn a student into its control.

    Where students are not `taught` there is no teacher, and ratios are to the default student.
    `file_hash` is that of the file of one's own that declares it; None of other spaces, and in
    plans of earlier versions.
    """

    name: str
    title: str
    description: str
    hash: str
    parameters: tuple[Parameter, ...]
    score: Score
    objectives: tuple[Objective, ...]
    taught: bool
    published: PublishedTable | None = None
    control: Mapping[str, Any] | None = None
    data_kind: str | None = None
    file_hash: str | None = None

    @property
    def distils(self) -> bool:
        """Whether anybody teaches its students: a teacher, or two of them each other."""
        return self.taught or self.of_pairs

    @property
    def of_pairs(self) -> bool:
        """Whether students translate paired images, and name no classes."""
        return self.data_kind == "pairs"

    @property
    def third(self) -> Third | None:
        """What is kept small beside the latency, as a field of a network's size; None of two."""
        for objective in self.objectives:
            if objective.key == "params_m" or objective.key == "flops_m":
                return objective.key
        return None

    @property
    def yardstick(self) -> str:
        """Whose latency all others are compared with: the teacher, or the default student."""
        return "teacher" if self.taught else "default student"

    @property
    def compared_by(self) -> str:
        """The objectives by name: `accuracy and latency`, `accuracy, latency and parameters`."""
        names = [self.score.name, "latency", *(o.label for o in self.objectives[2:])]
        return joined(names)


@dataclass(frozen=True)
class Data(Stored):
    """The data set and the sizes of its splits, in images; `floor_score` in the score's unit.

    `mean` and `std` are those of each channel that images are normalised with, scale 0..1; None in
    plans of earlier versions.
    """

    name: str
    classes: tuple[str, ...]
    train: int
    validation: int
    test: int
    student_train: int
    shape: tuple[int, ...]
    hash: str
    source: str
    floor_score: float
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StoredPlan(Stored):
    """The whole of `plan.json`; `plan` holds every field of the plan as it was given."""

    name: str
    created_at: str
    hash: str
    plan: Mapping[str, Any]
    space: Space
    data: Data

    @property
    def held(self) -> Mapping[str, Any]:
        """The parameters that are not searched, with their value: by the space, or by `--fix`."""
        own = {each.name: each.default for each in self.space.parameters if not each.searched}
        return {**own, **(self.plan.get("fixed") or {})}


# Of the plan's fields, those that are counted with.
_NUMBERS = ("trials", "max_epochs", "replicates", "max_failures", "seed")


def read_plan(path: Path) -> StoredPlan:
    """Reads a study's `plan.json`.

    Raises:
        RecordReadError: the file is missing, is not JSON, has another format or lacks a field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordReadError(
            f"{path.parent} holds no study: it has no {PLAN_FILE}; name a study's own folder"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordReadError(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise RecordReadError(
            f"{path} is damaged (line {error.lineno}: {error.msg}); restore it from a copy"
        ) from error
    if not isinstance(content, dict) or content.get("format") != PLAN_FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise RecordReadError(
            f"{path} has format {found!r}, this version reads format {PLAN_FORMAT}"
        )
    try:
        plan = StoredPlan.from_json(content)
        for name in _NUMBERS:
            value = plan.plan.get(name)
            if not isinstance(value, int | float | None):
                raise ResultFormatError(f"plan.{name} is no number: {value!r}")
        return plan
    except ResultFormatError as error:
        raise RecordReadError(f"{path} is damaged ({error}); restore it from a copy") from error


def lost_journal(study_folder: Path) -> str | None:
    """Say so where the journal is missing, but not what only trials leave in the folder."""
    journal = study_folder / JOURNAL_FILE
    # Looked for again at last: a driver may just be beginning.
    if journal.exists() or not _has_students(study_folder) or journal.exists():
        return None
    return (
        f"{journal} is missing though the study has students; restore it from a copy, or give the "
        f"study up: python -m study delete {study_folder.name}"
    )


def _has_students(study_folder: Path) -> bool:
    """Whether a study's folder holds what only trials leave there."""
    table = study_folder / REPORT_FOLDER / "results.csv"  # before any trial it has but a header
    listed = table.is_file() and len(table.read_bytes().splitlines()) > 1
    return listed or any(any(study_folder.glob(left)) for left in ("checkpoints/t*", "models/*"))
