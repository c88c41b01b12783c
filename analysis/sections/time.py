"""Where the hours went: the study's wall time by stage, its workers' time by phase."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.formatting import NBSP, counted, duration, number
from analysis.markup import Cell, Head, Html, plain_table, tag
from analysis.phases import Phases
from analysis.record import StudyResults
from analysis.results import trained_alone

_STAGES = {
    "starting": "Starting Ray and its workers",
    "preparing": "The teacher and its answers",
    "trials": "Trials",
    "replicates": "Further runs of the front",
    "confirming": "Confirming the front, pictures",
}
_PHASES = {
    "steps": "Forward, backward, optimiser",
    "data": "Data and its views",
    "teacher": "The teacher's answers",
    "validation": "Validation",
    "checkpoint": "Checkpoints",
    "latency": "Latency before training",
    "build": "Building students",
    "waiting": "Reporting, waiting for the driver",
    "handover": "Between two trials",
    "idle": "Starting, or nothing to do",
}


@dataclass(frozen=True)
class Hours:
    """Seconds of a study.

    Attributes:
        stages: Of its wall time, by what the driver was at; without the report itself.
        workers: Of its workers' time while trials ran, by what they did; with `idle`, the rest,
            they add up to all of it.
        driver: Processor time of the driver; None where it is not known of all its runs.
        trials: Trials, replicates among them, that workers told the phases of.
        together: Further runs that were trained as one with another of the same student, whose time
            that one's has.
    """

    stages: Mapping[str, float]
    workers: Mapping[str, float]
    driver: float | None
    trials: int
    together: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `study status --json` has it, to the millisecond."""
        rounded = {key: round(value, 3) for key, value in self.workers.items()}
        stages = {key: round(value, 3) for key, value in self.stages.items()}
        return {
            "stages": stages,
            "workers": rounded,
            "driver": None if self.driver is None else round(self.driver, 3),
            "trials": self.trials,
            "trained_together": self.together,
        }


def hours(results: StudyResults) -> Hours | None:
    """Add up where the time went; None of a record in which nothing tells."""
    stages: dict[str, float] = {}
    held = 0.0
    for session in results.sessions:
        if session.stages is None:
            continue
        for name, seconds in session.stages.items():
            stages[name] = stages.get(name, 0.0) + seconds
        busy = session.stages.get("trials", 0.0) + session.stages.get("replicates", 0.0)
        held += busy * (session.workers or 1)
    told = [
        trial.usage.phases
        for trial in trained_alone(results.trials)
        if trial.usage.phases is not None
    ]
    if not told and not stages:
        return None
    spent = sum(told, Phases())
    workers = asdict(spent)
    # Less than nothing where a trial of a killed driver's run is counted and its time is not.
    workers["idle"] = max(0.0, held - spent.total - spent.handover)
    together = sum(trial.usage.runs - 1 for trial in trained_alone(results.trials))
    driver = None
    drivers = [session.driver for session in results.sessions]
    # A driver that was killed, or is at work, has not said what it took.
    if drivers and None not in drivers and results.open_session is None:
        driver = sum(seconds or 0.0 for seconds in drivers)
    return Hours(stages, workers, driver, len(told), together)


def hours_tables(results: StudyResults) -> Html | None:
    """The same as two tables, largest first; None of a record that does not tell."""
    found = hours(results)
    if found is None:
        return None
    parts = []
    if found.stages:
        prepared = (
            {} if results.plan.space.taught else {"preparing": "The data, the default student"}
        )
        names = {**_STAGES, **prepared}
        parts.append(_table("stages", "The study's wall time", names, found.stages))
    if found.trials:
        parts.append(_table("phases", "Its workers' time", _PHASES, found.workers))
    notes = []
    if found.driver is not None:
        each = found.driver / max(1, found.trials)
        notes.append(
            f"The driver took {duration(found.driver)} of processor time for "
            f"{counted(found.trials, 'training')}, {number(each, 2)}{NBSP}s each, with reading "
            "data and starting Ray. Writing this report is not counted."
        )
    if found.together:
        runs = counted(found.together, "further run")
        notes.append(f"{runs} took the steps of another run of the same student with it, as one.")
    note = tag("p", " ".join(notes), class_="note") if notes else None
    return tag("div", note, tag("div", *parts, class_="facts"))


def _table(name: str, title: str, names: Mapping[str, str], spent: Mapping[str, float]) -> Html:
    total = sum(spent.values()) or 1.0
    known = [(names.get(key, key), seconds) for key, seconds in spent.items() if seconds > 0]
    rows = [
        [
            Cell(label),
            Cell(duration(seconds), seconds),
            Cell(f"{number(100 * seconds / total, 1)}{NBSP}%", seconds),
        ]
        for label, seconds in sorted(known, key=lambda entry: -entry[1])
    ]
    heads = [Head("What", numeric=False), Head("Time"), Head("Share")]
    return tag("div", tag("h3", title), plain_table(f"{name}-table", title, heads, rows))
