"""What was asked, as stored with the study: the plan, its search space, its data.

A report needs nothing else of a space (names, units, directions, published table), so it can be
made where the space itself is not installed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.results import PLAN_FILE, PLAN_FORMAT, ResultFormatError, Stored


class RecordReadError(ValueError):
    """A folder that holds no study, or a damaged one; the message names the path and the mend."""


@dataclass(frozen=True)
class Condition(Stored):
    """A parameter applies only while another one takes one of some values."""

    parameter: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter(Stored):
    """One searched parameter; `architecture` says whether it shapes the student network."""

    name: str
    kind: Literal["choice", "int", "real"]
    architecture: bool
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    help: str | None = None
    when: Condition | None = None


@dataclass(frozen=True)
class Objective(Stored):
    """One quantity a study optimises, with its unit and direction."""

    key: str
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
    """The search space; `control` holds the values that turn a student into its control."""

    name: str
    title: str
    description: str
    hash: str
    parameters: tuple[Parameter, ...]
    objectives: tuple[Objective, ...]
    published: PublishedTable | None = None
    control: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Data(Stored):
    """The data set and the sizes of its splits, in images; `floor_score` in percent."""

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


@dataclass(frozen=True)
class StoredPlan(Stored):
    """The whole of `plan.json`; `plan` holds every field of the plan as it was given."""

    name: str
    created_at: str
    hash: str
    plan: Mapping[str, Any]
    space: Space
    data: Data


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
        return StoredPlan.from_json(content)
    except ResultFormatError as error:
        raise RecordReadError(f"{path} is damaged ({error}); restore it from a copy") from error
