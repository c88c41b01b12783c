"""Tables of a study: every trial, the front, and published figures beside measured ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from analysis.formatting import NBSP, figure, plus_minus
from analysis.front import KdPair, is_distilled
from analysis.limits import beyond_limits
from analysis.record import StudyResults
from analysis.results import Latency, TrialResult, trial_name
from analysis.runs import Estimate
from analysis.stored_plan import PublishedColumn, PublishedRow, Space

if TYPE_CHECKING:
    import pandas as pd

PARAMETER_PREFIX = "param_"


class Column(NamedTuple):
    """A column of the results table: its name, its unit ("" where it has none), its meaning."""

    name: str
    unit: str
    meaning: str


_COLUMNS: tuple[Column, ...] = (
    Column("trial", "", "name of the trial"),
    Column("label", "", "label of the preset, where it is one"),
    Column("source", "", "preset, control or sampler; exit, where another trial trained it"),
    Column("trained_with", "", "of an exit: the trial whose training it shares"),
    Column("status", "", "complete, stopped, infeasible, failed or running"),
    Column("reason", "", "why it did not complete"),
    Column("architecture", "", "the student network"),
    Column(
        "on_front",
        "",
        "complete within the constraints, by the latency searched by and the first run's score; no "
        "other such trial is at least as good in all objectives and better in one, or tied in "
        "latency and better in another",
    ),
    Column("beyond_limit", "", "of the front: the limit that a figure taken again is beyond"),
    Column("distilled", "", "whether a teacher had a part in it"),
    Column("epochs", "", "planned epochs"),
    Column("epochs_done", "", "epochs trained"),
    Column("val_score", "{unit}", "validation {score} after the last epoch"),
    Column("test_score", "{unit}", "test {score}, scored once after the search"),
    Column("latency_ms", "ms", "batch-1 latency: confirmed when idle, else as searched by"),
    Column("latency_idle", "", "whether latency and ratios were measured on the idle device"),
    Column(
        "latency_settled",
        "",
        "whether the 95 % interval of ratio_batch_1, given the teacher's idle time, is under 3 % "
        "wide",
    ),
    Column(
        "latency_paced_by",
        "",
        "whom it was timed against at batch 1: the teacher (or default student), or the metronome",
    ),
    Column("tied_with", "", "of who is off the front for a tie in latency alone: who stayed"),
    Column(
        "latency_batch_64_ms",
        "ms",
        "latency of a batch of 64, the median as it was timed; the machine's pace is in it, so "
        "compare by ratio_batch_64",
    ),
    Column(
        "ratio_batch_1",
        "x",
        "teacher time (or default student's) / student time, batch 1",
    ),
    Column("ratio_batch_1_low", "x", "lower end of its 95 % interval"),
    Column("ratio_batch_1_high", "x", "upper end of its 95 % interval"),
    Column(
        "ratio_batch_64",
        "x",
        "teacher time (or default student's) / student time, batch 64",
    ),
    Column("ratio_batch_64_low", "x", "lower end of its 95 % interval"),
    Column("ratio_batch_64_high", "x", "upper end of its 95 % interval"),
    Column("params_m", "M", "parameters"),
    Column("flops_m", "M", "FLOPs of one example; a multiply-accumulate counts as 2"),
    Column("bytes", "B", "size of the weights file"),
    Column("train_seconds", "s", "time spent training, validation apart; exits share theirs"),
    Column("kd_control", "", "the undistilled twin this trial is compared with"),
    Column("kd_gain", "{points}", "validation {score} minus that of the twin"),
    Column("kd_test_gain", "{points}", "test {score} minus that of the twin"),
    Column("started_at", "", "ISO 8601, UTC"),
    Column("finished_at", "", "ISO 8601, UTC"),
)

# What further runs tell: of a study that has any. On the row of a configuration's first run, but
# for the first two, which say of a replicate what it is.
_RUN_COLUMNS: tuple[Column, ...] = (
    Column("replicate_of", "", "of a replicate: the trial whose configuration it repeats"),
    Column("run", "", "which run of its configuration: 0 of the first, and of all but replicates"),
    Column("runs", "", "runs of the configuration that ran to their end"),
    Column("val_mean", "{unit}", "validation {score}, mean over the runs"),
    Column("val_error", "{unit}", "standard error of that mean"),
    Column("test_mean", "{unit}", "test {score}, mean over the runs"),
    Column("test_error", "{unit}", "standard error of that mean"),
    Column("front_probability", "", "share of bootstrap draws in which it is on the front"),
    Column("kd_runs", "", "pairs of runs of one seed behind the gain, which is their mean"),
    Column("kd_gain_low", "{points}", "lower end of the 95 % interval of the gain, if runs differ"),
    Column("kd_gain_high", "{points}", "upper end of the 95 % interval of the gain"),
    Column("kd_test_gain_low", "{points}", "lower end of the 95 % interval of the test gain"),
    Column("kd_test_gain_high", "{points}", "upper end of the 95 % interval of the test gain"),
)

FRONT_COLUMNS = (
    "trial", "label", "architecture", "val_score", "test_score", "latency_ms",
    "latency_idle", "latency_settled", "latency_paced_by", "latency_batch_64_ms", "ratio_batch_1",
    "ratio_batch_64", "params_m", "flops_m", "bytes", "train_seconds", "kd_control", "kd_gain",
    "kd_test_gain",
)  # fmt: skip


def columns(space: Space, *, replicated: bool = False) -> tuple[Column, ...]:
    """The columns of a results table, with the name and unit of the space's score.

    With `replicated`, those of a study that has replicates.
    """
    score = space.score
    words = {"score": score.name, "unit": score.unit, "points": score.points}
    return tuple(
        column._replace(unit=column.unit.format(**words), meaning=column.meaning.format(**words))
        for column in (*_COLUMNS, *(_RUN_COLUMNS if replicated else ()))
    )


def measured_latency(trial: TrialResult) -> Latency | None:
    """The timing to report: the confirmed one, else the one taken before the first epoch."""
    return trial.best_latency


def parameter_names(results: StudyResults) -> list[str]:
    """Names of the parameters, in the space's order, then any others in the alphabet's."""
    declared = [parameter.name for parameter in results.plan.space.parameters]
    found = {name for trial in results.trials for name in trial.params}
    return [*declared, *sorted(found.difference(declared))]


def results_table(results: StudyResults) -> "pd.DataFrame":
    """One row a trial, by number: what `columns` names, then `param_NAME` for every parameter.

    Replicates have rows of their own, with the scores of that run; what the runs of a
    configuration come to stands on the row of the first. Missing values are None or NaN.
    """
    import pandas as pd

    front = {trial.number for trial in results.front}
    beyond = beyond_limits(results)
    pairs = {pair.distilled.number: pair for pair in results.pairs}
    firsts = {trial.number: trial for trial in results.configurations}
    names = parameter_names(results)
    rows = []
    for trial in results.trials:
        pair = pairs.get(trial.number)
        row = _row(trial, pair)
        first = trial if trial.replicate_of is None else firsts.get(trial.replicate_of, trial)
        row["on_front"] = trial.number in front
        row["beyond_limit"] = beyond.get(trial.number)
        row["tied_with"] = stays.name if (stays := results.tied.get(trial.number)) else None
        row["distilled"] = is_distilled(first, results.plan.space)
        if has_replicates(results):
            row |= _run_columns(results, trial, pair)
        row |= {f"{PARAMETER_PREFIX}{name}": trial.params.get(name) for name in names}
        rows.append(row)
    described = columns(results.plan.space, replicated=has_replicates(results))
    header = [column.name for column in described]
    header += [f"{PARAMETER_PREFIX}{name}" for name in names]
    return pd.DataFrame(rows, columns=header)


def _row(trial: TrialResult, pair: KdPair | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": trial.name,
        "label": trial.label,
        "source": trial.source,
        "trained_with": None if trial.trained_with is None else trial.trained_as,
        "status": trial.status,
        "reason": trial.reason,
        "architecture": trial.architecture,
        "epochs": trial.epochs,
        "epochs_done": trial.epochs_done,
        "val_score": trial.val_score,
        "test_score": trial.test_score,
        "latency_ms": trial.latency_ms,
        "train_seconds": trial.train_seconds,
        "started_at": trial.started_at,
        "finished_at": None if trial.outcome is None else trial.outcome.finished_at,
    }
    latency = measured_latency(trial)
    if latency is not None:
        row["latency_idle"] = latency.idle
        row["latency_settled"] = latency.settled
        row["latency_paced_by"] = latency.paced_by
        row["latency_batch_64_ms"] = latency.batch_64_ms.median
        for batch, ratio in ((1, latency.ratio_batch_1), (64, latency.ratio_batch_64)):
            row[f"ratio_batch_{batch}"] = ratio.median
            row[f"ratio_batch_{batch}_low"] = ratio.low
            row[f"ratio_batch_{batch}_high"] = ratio.high
    if trial.model is not None:
        row |= trial.model.to_json()
    if pair is not None:
        row["kd_control"] = pair.control.name
        row["kd_gain"] = pair.val_gain
        row["kd_test_gain"] = pair.test_gain
    return row


def has_replicates(results: StudyResults) -> bool:
    """Whether a study has trained, or trains, any configuration again."""
    return len(results.configurations) < len(results.trials)


def _run_columns(results: StudyResults, trial: TrialResult, pair: KdPair | None) -> dict[str, Any]:
    first = trial.replicate_of
    row: dict[str, Any] = {
        "replicate_of": None if first is None else trial_name(first),
        "run": trial.run,
    }
    for split, scored in (("val", results.validation), ("test", results.tested)):
        if (estimate := scored.get(trial.number)) is not None:
            row |= {f"{split}_mean": estimate.mean, f"{split}_error": estimate.error}
    if (validation := results.validation.get(trial.number)) is not None:
        row["runs"] = validation.runs
        row["front_probability"] = results.probabilities.get(trial.number)
    if pair is not None:
        row["kd_runs"] = pair.validation.runs
        for name, gain in (("kd_gain", pair.validation), ("kd_test_gain", pair.test)):
            if gain is not None and (interval := gain.interval) is not None:
                row[f"{name}_low"], row[f"{name}_high"] = interval
    return row


def front_table(results: StudyResults) -> "pd.DataFrame":
    """The front, fastest student first: `FRONT_COLUMNS`, then `param_NAME`.

    Of a study that has replicates, what they tell stands between those.
    """
    table = results_table(results)
    numbers = [trial.number for trial in results.front]
    rows = {trial.number: row for row, trial in enumerate(results.trials)}
    parameters = [name for name in table.columns if name.startswith(PARAMETER_PREFIX)]
    chosen = table.iloc[[rows[number] for number in numbers]]
    runs = [column.name for column in _RUN_COLUMNS[2:]] if has_replicates(results) else []
    return chosen[[*FRONT_COLUMNS, *runs, *parameters]].reset_index(drop=True)


Split = Literal["test", "validation"]


class Comparison(NamedTuple):
    """A published figure and what was measured for it; None where there is nothing."""

    published: float | None
    measured: float | None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.published is None or self.measured is None:
            return None
        return self.measured - self.published


@dataclass(frozen=True)
class PublishedResult:
    """One published row and the trial of the same label.

    Args:
        row: what was published.
        trial: the trial that measured it, None where none was run.
        split: the split its score is of: test, or validation until it is confirmed.
        error: standard error of the score, where it is a mean over several runs.
        comparisons: by column key.
        batch_64: the measured inference-time ratio at batch 64, beside that at batch 1.
    """

    row: PublishedRow
    trial: TrialResult | None
    split: Split | None
    comparisons: dict[str, Comparison]
    batch_64: float | None
    error: float | None = None

    def measured(self, key: str) -> str:
        """What was measured for a column, a score with its standard error where it has one."""
        text = figure(key, self.comparisons[key].measured)
        if key != "score" or self.error is None:
            return text
        return f"{text}{NBSP}{plus_minus(self.error, 1)}"


def published_results(results: StudyResults) -> tuple[PublishedResult, ...]:
    """The published table beside what was measured; empty where the space has none.

    A row is measured by the trial of its label; of several, by the first that ran to its end.
    """
    published = results.plan.space.published
    if published is None:
        return ()
    return tuple(_published_result(row, published.columns, results) for row in published.rows)


def _published_result(
    row: PublishedRow, columns: Sequence[PublishedColumn], results: StudyResults
) -> PublishedResult:
    named = [trial for trial in results.configurations if trial.label == row.label]
    named.sort(key=lambda trial: (trial.status != "complete", trial.number))
    trial = named[0] if named else None
    score, split = (None, None) if trial is None else _reported_score(results, trial)
    mean = None if score is None else score.mean
    measured = {} if trial is None else {**_measured(trial), "score": mean}
    latency = None if trial is None else measured_latency(trial)
    return PublishedResult(
        row=row,
        trial=trial,
        split=split,
        comparisons={
            column.key: Comparison(_finite(row.values.get(column.key)), measured.get(column.key))
            for column in columns
        },
        batch_64=None if latency is None else latency.ratio_batch_64.median,
        error=None if score is None else score.error,
    )


def _reported_score(
    results: StudyResults, trial: TrialResult
) -> tuple[Estimate | None, Split | None]:
    """The score of a configuration over its runs, of the test split if that was scored."""
    if (tested := results.tested.get(trial.number)) is not None:
        return tested, "test"
    if (validation := results.validation.get(trial.number)) is not None:
        return validation, "validation"
    return None, None


def _measured(trial: TrialResult) -> dict[str, float | None]:
    """What a trial measured, by the key of the published column it answers."""
    latency = measured_latency(trial)
    return {
        "train_seconds": trial.train_seconds if trial.status == "complete" else None,
        "time_ratio": None if latency is None else latency.ratio_batch_1.median,
        "latency_ms": trial.latency_ms,
        "params_m": None if trial.model is None else trial.model.params_m,
        "flops_m": None if trial.model is None else trial.model.flops_m,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def published_table(results: StudyResults) -> "pd.DataFrame":
    """Published beside measured, one row a published row.

    For every published column KEY: `KEY_published`, `KEY_measured`, `KEY_difference` (measured
    minus published); then `time_ratio_batch_64_measured`, and `score_split` (test, or
    validation until the trial is confirmed).
    """
    import pandas as pd

    rows = []
    for result in published_results(results):
        row: dict[str, Any] = {
            "label": result.row.label,
            "trial": None if result.trial is None else result.trial.name,
            "score_split": result.split,
        }
        for key, comparison in result.comparisons.items():
            row[f"{key}_published"] = comparison.published
            row[f"{key}_measured"] = comparison.measured
            row[f"{key}_difference"] = comparison.difference
        row["time_ratio_batch_64_measured"] = result.batch_64
        rows.append(row)
    return pd.DataFrame(rows)
