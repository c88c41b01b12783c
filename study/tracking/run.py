"""What MLflow holds of one run, and so what of an update it still lacks.

Nothing that a run has is sent again: neither in a later session, nor when a retried trial tells its
epochs anew, nor when the record is replayed.
"""

import contextlib
import getpass
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from study.tracking.delivery import PendingRun, Point, Replay
from study.tracking.views import FRONT_TAG

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

LONGEST_NAME: Final = 250
LONGEST_PARAM: Final = 6000
LONGEST_TAG: Final = 8000

OUTCOME_TAG: Final = "outcome"
REASON_TAG: Final = "reason"
NOTE_TAG: Final = "mlflow.note.content"
FRONT_NOTE: Final = "On the front of "  # the description of a front member begins so
NOTE_DIGEST_TAG: Final = "mlflow.note.digest"  # of that description, by which a user's is told
RESUMED: Final = "resumed/"  # set before the name of a parameter that a resumed study changed

History = Callable[[str], "Sequence[Metric]"]


@dataclass(slots=True)
class Lack:
    """What a run lacks: points, parameters, tags; and the tags that it should not have."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]
    stale_tags: list[str]


@dataclass(slots=True)
class KnownRun:
    """A run as it was found or made, kept up to date with what is sent there.

    Attributes:
        run_id: its id.
        status: MLflow's status.
        is_fresh: this run of the driver made it, so what is not known of it is not there.
        metrics: the last value of every metric.
        has_data: it is shown with the data set it learns from.
        has_teacher: of a study, it is shown with the teacher that it was given.
    """

    run_id: str
    status: str = "RUNNING"
    is_fresh: bool = True
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    has_data: bool = False
    has_teacher: bool = False
    _steps: dict[str, set[int]] = field(default_factory=dict)
    _dated: dict[str, int] = field(default_factory=dict)

    @classmethod
    def found(cls, run: "Run") -> "KnownRun":
        """A run that was there before this run of the driver."""
        data = run.data
        return cls(
            str(run.info.run_id),
            str(run.info.status),
            is_fresh=False,
            params=dict(data.params),
            tags=dict(data.tags),
            metrics=dict(data.metrics),
            has_data=bool(run.inputs and run.inputs.dataset_inputs),
            has_teacher=bool(run.inputs and run.inputs.model_inputs),
        )

    def lacks(self, pending: PendingRun, history: History) -> Lack:
        """What of an update the run does not have.

        Args:
            pending: the update.
            history: asks MLflow for all points of a metric; called only where it must be known.
        """
        params, tags = self._lacking_params(pending)
        for name, value in pending.tags.items():
            if name == NOTE_TAG and not self._takes_note(value or "", pending):
                continue
            if value is not None and self.tags.get(mlflow_name(name)) != value[:LONGEST_TAG]:
                tags[mlflow_name(name)] = value[:LONGEST_TAG]
        if tags.get(NOTE_TAG, "").startswith(FRONT_NOTE):
            tags[NOTE_DIGEST_TAG] = _digest(tags[NOTE_TAG])
        points = list(pending.points)
        if pending.replay is not None and not self._has_all(pending.replay):
            points = [*pending.replay.points(), *points]
        return Lack(self._lacking_points(points, history), params, tags, self._stale(pending, tags))

    def still_lacks(self, pending: PendingRun, history: History) -> Lack:
        """What a run that was closed, and that several studies share, has nothing of.

        What one study told of it stays as it is; a curve that was not at hand then is filled in.
        """
        curves = [point for point in pending.points if point.step]
        if self._has_all(Replay({point.key: point.value for point in curves}, list)):
            curves = []
        finals = [p for p in pending.points if not p.step and p.key not in self.metrics]
        params = {k: v for k, v in pending.params.items() if mlflow_name(k) not in self.params}
        return self.lacks(
            replace(pending, points=[*curves, *finals], params=params, tags={}), history
        )

    def took(
        self,
        points: Sequence[Point] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Notes what MLflow has accepted."""
        self.params.update(params or {})
        self.tags.update(tags or {})
        for point in points:
            self.metrics[point.key] = point.value
            if point.step:
                self._steps.setdefault(point.key, set()).add(point.step)
            else:
                self._dated[point.key] = point.timestamp

    def ended(self, status: str) -> None:
        """Notes that the run was closed. Its steps are forgotten: a thousand runs have many."""
        self.status, self.is_fresh = status, False
        self._steps.clear()

    def _has_all(self, replay: Replay) -> bool:
        """Whether the run has the last values of its curves: points arrive in order."""
        last = replay.last
        return last is not None and all(self.metrics.get(k) == value for k, value in last.items())

    def _lacking_params(self, pending: PendingRun) -> tuple[dict[str, str], dict[str, str]]:
        """New parameters; and, as tags, those that have changed: MLflow's own cannot change."""
        params, tags = {}, {}
        for name, value in pending.params.items():
            key, text = mlflow_name(name), value[:LONGEST_PARAM]
            if key not in self.params:
                params[key] = text
            elif self.tags.get(mlflow_name(RESUMED + name), self.params[key]) != text:
                tags[mlflow_name(RESUMED + name)] = text
        return params, tags

    def _takes_note(self, note: str, pending: PendingRun) -> bool:
        """Whether a description is to be the run's: of a front member, not over the user's own."""
        if not note.startswith(FRONT_NOTE):
            return True
        on_front = pending.tags.get(FRONT_TAG) is not None
        return on_front and (NOTE_TAG not in self.tags or self._described() is not None)

    def _stale(self, pending: PendingRun, lacking: dict[str, str]) -> list[str]:
        """Tags to take away, and the description that told of the same."""
        stale = [
            name for name, value in pending.tags.items() if value is None and name in self.tags
        ]
        if self._described() in stale and NOTE_TAG not in lacking:
            stale.append(NOTE_TAG)
        return stale

    def _described(self) -> str | None:
        """The tag that its description tells of; None without one, or of the user's own."""
        note, reason = self.tags.get(NOTE_TAG, ""), self.tags.get(REASON_TAG)
        if note and self.tags.get(NOTE_DIGEST_TAG) == _digest(note):
            return FRONT_TAG
        return REASON_TAG if reason is not None and note.endswith(f": {reason}") else None

    def _lacking_points(self, points: Sequence[Point], history: History) -> list[Point]:
        curves: dict[tuple[str, int], Point] = {}
        finals: dict[str, Point] = {}
        for point in points:
            if point.step == 0:
                finals[point.key] = point  # of several values the last one counts
            else:
                curves.setdefault((point.key, point.step), point)
        lacking = [p for p in curves.values() if p.step not in self._steps_of(p.key, history)]
        for point in finals.values():
            if self.metrics.get(point.key) != point.value:
                lacking += self._as_latest(point, history)
        return lacking

    def _as_latest(self, point: Point, history: History) -> list[Point]:
        """A final value, dated so that MLflow takes it for the latest; nothing if it is already.

        What the record tells of the past may be older than what an earlier session sent.
        """
        if self.is_fresh or point.key not in self.metrics:
            return [point]
        sent = self._dated.get(point.key)
        if sent is None:
            latest = max(history(point.key), key=lambda m: (m.step, m.timestamp, m.value))
            if latest.value == point.value:  # the answer to an earlier attempt was lost
                self.took([replace(point, timestamp=int(latest.timestamp))])
                return []
            sent = int(latest.timestamp)
        return [replace(point, timestamp=max(point.timestamp, sent + 1))]

    def _steps_of(self, key: str, history: History) -> set[int]:
        """The steps of a curve that the run has."""
        steps = self._steps.get(key)
        if steps is None:
            there = not self.is_fresh and key in self.metrics
            steps = self._steps[key] = {m.step for m in history(key)} if there else set()
        return steps


def _digest(note: str) -> str:
    return hashlib.sha256(note.encode()).hexdigest()[:16]


def origin() -> dict[str, str]:
    """What and who started the study, for MLflow's columns of those names."""
    tags = {"mlflow.source.name": "study.launch", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def mlflow_name(text: str) -> str:
    """A name MLflow takes: one strange character would have it refuse the whole batch."""
    return re.sub(r"[^\w\-. :/]", "_", text)[:LONGEST_NAME]
