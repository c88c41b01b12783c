"""Another study's trials, as they were: from its record, or from a table that a report wrote."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.results import TrialResult
from analysis.stored_plan import Parameter
from search_spaces.space import nearest
from study.earlier_differences import held_as, teacher_text
from study.folders import is_study, studies_in
from study.mirror import bring_plans, bring_study, shown
from study.names import StudyName, StudyNameError
from study.plan import PlanError
from study.warm_start import EarlierTrial, EpochScore

_PARAMETER = "param_"
_NEEDED = ("status", "val_score", "latency_ms", "epochs", "epochs_done")
# One below the least score there was trained to its end all the same.
_TRAINED = ("complete", "stopped", "infeasible")


@dataclass(frozen=True)
class Source:
    """Where trials come from.

    Attributes:
        name: Of the study, or of the table's file.
        described: The same in a refusal.
        parameters: Names of those that any trial can have.
        trials: Those with a score, as configurations of the source's own space.
        data: Hash of its data set; None of a table, which does not know.
        score: Name and unit of its score, in the same way.
        train_per_class: Images of each class that students learnt from; None for all.
        declared: Its space's parameters, as they could be chosen; none of a table.
        taught: Whether a teacher taught there; None of a table.
        teacher: That teacher, for people; None where none is known.
        teacher_key: What tells it from others, in the same way.
        by_checkpoint: Whether its weights were given.
    """

    name: str
    described: str
    parameters: tuple[str, ...]
    trials: tuple[EarlierTrial, ...]
    data: str | None = None
    score: tuple[str, str] | None = None
    train_per_class: int | None = None
    declared: tuple[Parameter, ...] = ()
    taught: bool | None = None
    teacher: str | None = None
    teacher_key: str | None = None
    by_checkpoint: bool = False

    @property
    def is_table(self) -> bool:
        """Whether it is a table, which knows little of its study."""
        return self.score is None


def read_source(asked: str, studies: Path) -> Source:
    """Return the trials of a study, by name or folder, or of a results table.

    Of a study in an object store the plan is brought first; it tells where the record is.

    Raises:
        PlanError: if there is neither, or the table cannot be used.
        RecordReadError: if the study's record is damaged.
        StoreError: if the object store does not answer.
    """
    path = Path(asked)
    try:
        if path.is_file():
            return _read_table(asked, path)
        found = next((at for at in (*_named(asked, studies), path) if is_study(at)), None)
    except OSError as error:
        raise PlanError(f"--warm-start {asked} may not be read ({error.strerror})") from error
    if found is not None:
        return _read_study(found)
    bring_plans(studies)
    where = shown(studies)
    known, _ = studies_in(studies)
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
    plan, teacher = record.plan, record.teacher
    own = plan.plan.get("teacher")
    taught_by = None
    if teacher is not None:
        taught_by = own or teacher_text(teacher.name, teacher.epochs, plan.plan.get("seed"))
    return Source(
        name=folder.name,
        described=f"study {folder.name}",
        parameters=tuple(parameter.name for parameter in plan.space.parameters),
        trials=tuple(map(_from_record, filter(_is_trained, record.trials))),
        data=plan.data.hash,
        score=(plan.space.score.name, plan.space.score.unit),
        train_per_class=plan.plan.get("train_per_class"),
        declared=held_as(plan.space.parameters, dict(plan.held)),
        taught=plan.space.taught,
        teacher=taught_by,
        teacher_key=None if teacher is None else teacher.key,
        by_checkpoint=own is not None,
    )


def _is_trained(trial: TrialResult) -> bool:
    ended = trial.status in _TRAINED
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
