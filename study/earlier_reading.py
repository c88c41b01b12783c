"""Another study's trials, as they were: from its record, or from a table that a report wrote."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.results import PLAN_FILE, TrialResult
from search_spaces.space import SearchSpace, nearest
from study.mirror import bring_plans, bring_study, shown
from study.names import StudyName, StudyNameError
from study.plan import PlanError, StudyPlan
from study.warm_start import EarlierTrial, EpochScore

_PARAMETER = "param_"
_NEEDED = ("status", "val_score", "latency_ms", "epochs", "epochs_done")
_TRAINED = ("complete", "stopped")


@dataclass(frozen=True)
class Source:
    """Where trials come from.

    Attributes:
        name: Of the study, or of the table's file.
        described: The same in a refusal.
        parameters: Names of those that any trial can have.
        trials: Complete and stopped, as configurations of the source's own space.
        data: Hash of its data set; None of a table, which does not know.
        score: Name and unit of its score, in the same way.
        max_epochs: Of a full training, in the same way.
        train_per_class: Images of each class that students learnt from; None for all.
    """

    name: str
    described: str
    parameters: tuple[str, ...]
    trials: tuple[EarlierTrial, ...]
    data: str | None = None
    score: tuple[str, str] | None = None
    max_epochs: int | None = None
    train_per_class: int | None = None

    def alike(self, plan: StudyPlan, space: SearchSpace) -> bool:
        """Whether its scores mean what they mean here, on the same images.

        Those of the plan have yet to be read: see :meth:`study.warm_start.Earlier.on`.
        """
        return self.score is not None and not self.differences(plan, space)

    def differences(self, plan: StudyPlan, space: SearchSpace) -> list[str]:
        """Say in a clause each how its scores are of something else, as far as is known."""
        if self.score is None:  # a table
            return []
        found, (name, unit) = [], self.score
        if (name, unit) != (space.score.name, space.score.unit):
            here = f"{space.score.name} ({space.score.unit})"
            found.append(f"its score is {name} ({unit}), here {here}")
        if self.max_epochs != plan.max_epochs:
            found.append(f"its students trained {self.max_epochs} epochs, here {plan.max_epochs}")
        if self.train_per_class != plan.train_per_class:
            there, here = (
                "all images" if count is None else f"{count} images of each class"
                for count in (self.train_per_class, plan.train_per_class)
            )
            found.append(f"they learnt from {there}, here from {here}")
        return found


def read_source(asked: str, studies: Path) -> Source:
    """Return the trials of a study, by name or folder, or of a results table.

    Of a study in an object store the plan is brought first; it tells where the record is.

    Raises:
        PlanError: if there is neither, or the table cannot be used.
        RecordReadError: if the study's record is damaged.
        StoreError: if the object store does not answer.
    """
    path = Path(asked)
    if path.is_file():
        return _read_table(asked, path)
    for folder in (*_named(asked, studies), path):
        if (folder / PLAN_FILE).is_file():
            return _read_study(folder)
    bring_plans(studies)
    where = shown(studies)
    known = sorted(found.parent.name for found in studies.glob(f"[!.]*/{PLAN_FILE}"))
    end = nearest(asked, known) if known else f"; there are no studies in {where}"
    raise PlanError(f"--warm-start {asked!r} is no study in {where}, folder or table{end}")


def _named(asked: str, studies: Path) -> list[Path]:
    try:
        folder = StudyName(asked).folder(studies)
    except StudyNameError:
        return []
    bring_study(studies, asked, "plan")
    return [folder]


def _read_study(folder: Path) -> Source:
    from analysis.record import read_record

    record = read_record(folder)
    plan = record.plan
    return Source(
        name=folder.name,
        described=f"study {folder.name}",
        parameters=tuple(parameter.name for parameter in plan.space.parameters),
        trials=tuple(map(_from_record, filter(_is_trained, record.trials))),
        data=plan.data.hash,
        score=(plan.space.score.name, plan.space.score.unit),
        max_epochs=plan.plan.get("max_epochs"),
        train_per_class=plan.plan.get("train_per_class"),
    )


def _is_trained(trial: TrialResult) -> bool:
    # One below the least score there was trained to its end all the same.
    ended = trial.status in (*_TRAINED, "infeasible")
    return ended and bool(trial.curve) and math.isfinite(trial.curve[-1].val_score)


def _from_record(trial: TrialResult) -> EarlierTrial:
    size = trial.model
    return EarlierTrial(
        params=dict(trial.params),
        architecture=trial.architecture,
        scores=tuple(
            EpochScore(each.epoch, each.val_score)
            for each in trial.curve
            if math.isfinite(each.val_score)
        ),
        epochs=trial.epochs,
        latency_ms=trial.latency_ms,
        params_m=None if size is None else size.params_m,
        flops_m=None if size is None else size.flops_m,
    )


def _read_table(asked: str, path: Path) -> Source:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlanError(
            f"--warm-start {asked} cannot be read as a table ({error}); give a study's name, or "
            "the results.csv of its report"
        ) from None
    names = [name.removeprefix(_PARAMETER) for name in header if name.startswith(_PARAMETER)]
    missing = [name for name in _NEEDED if name not in header]
    if missing or not names:
        lacks = missing[0] if missing else f"{_PARAMETER}NAME"
        raise PlanError(
            f"--warm-start {asked} has no column {lacks}; give the results.csv of a report"
        )
    trials = [
        _from_row(asked, line, row)
        for line, row in enumerate(rows, start=2)
        if row["status"] in _TRAINED and row["val_score"]
    ]
    return Source(path.name, f"table {path.name}", tuple(names), tuple(trials))


def _from_row(asked: str, line: int, row: Mapping[str, Any]) -> EarlierTrial:
    def figure(name: str) -> float:
        try:
            found = float(row[name])
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise PlanError(
                f"--warm-start {asked}, line {line}: {name} {row[name]!r} is no number; give the "
                "results.csv of a report as it was written"
            )
        return found

    params = {
        name.removeprefix(_PARAMETER): text
        for name, text in row.items()
        if (name or "").startswith(_PARAMETER) and text
    }
    return EarlierTrial(
        params=params,
        architecture=str(row.get("architecture") or ""),
        scores=(EpochScore(int(figure("epochs_done")), figure("val_score")),),
        epochs=int(figure("epochs")),
        latency_ms=figure("latency_ms") if row["latency_ms"] else None,
        params_m=figure("params_m") if row.get("params_m") else None,
        flops_m=figure("flops_m") if row.get("flops_m") else None,
    )
