"""What another study learnt, as trials of this one's space: read, translated, and kept.

It is handed over once, when a study is launched with ``--warm-start``: a copy in the study's folder
is what every later run learns from, whatever becomes of the other study. It teaches the search, and
is no part of the record: none of it is on the front.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.stored import Stored
from search_spaces.space import SearchSpace, SpaceError, Value
from study import earlier_differences as differences
from study.parsing import parse_value
from study.plan import PlanError, StudyPlan
from study.search.training import usual_ratio

if TYPE_CHECKING:
    from study.earlier_reading import Source

EARLIER_FILE = "warm_start.json"
_SHOWN = 3


@dataclass(frozen=True)
class EpochScore(Stored):
    """What a trial scored after an epoch."""

    epoch: int
    score: float


@dataclass(frozen=True)
class EarlierTrial(Stored):
    """A trial of another study, complete or stopped, as a configuration of this one's space.

    Attributes:
        params: Its whole configuration here.
        architecture: What its student is called here.
        scores: As far as its epochs are known; the last one is always there.
        epochs: Of its whole training.
        latency_ms, params_m, flops_m: Of its student, measured there; None where unknown.
    """

    params: Mapping[str, Any]
    architecture: str
    scores: tuple[EpochScore, ...]
    epochs: int
    latency_ms: float | None = None
    params_m: float | None = None
    flops_m: float | None = None

    @property
    def score(self) -> float:
        """After its last epoch."""
        return self.scores[-1].score


@dataclass(frozen=True)
class Earlier(Stored):
    """What is handed over.

    Attributes:
        source: The other study's name, or the table's.
        alike: Scores there can be compared with scores here: the same images, as many of them, the
            same score and epochs.
        trials: Those that fit this space.
        lines: What a person is to know of it: how many fit, and how the studies differ.
        data: Hash of the data there; None where it is not known.
        teacher: Key of the teacher there; None where it is not known, or told to be another.
    """

    source: str
    alike: bool
    trials: tuple[EarlierTrial, ...]
    lines: tuple[str, ...]
    data: str | None = None
    teacher: str | None = None

    def on(self, data: str, teacher: str) -> "Earlier":
        """Return it for data of this hash and this teacher: alike only on the same images.

        What was kept before it was told on which data, or taught by whom, stays as it was taken.

        Args:
            data: Hash of the data here.
            teacher: Key of the teacher here, "none" without one.
        """
        other_data = self.data is not None and self.data != data
        other_teacher = self.teacher is not None and self.teacher != teacher
        told = ["its images are others than those here"] if other_data else []
        told += ["its teacher is another than the one here"] if other_teacher else []
        lines = tuple(dict.fromkeys((*self.lines, *told)))
        return replace(self, alike=self.alike and not other_data, lines=lines)

    @property
    def hash(self) -> str:
        """16 hex digits of what there is to learn."""
        body = [self.alike, [trial.to_json() for trial in self.trials]]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def earlier_for(plan: StudyPlan, space: SearchSpace, studies: Path) -> Earlier | None:
    """Return what the plan has handed over: the study's own copy, or else the other study's trials.

    Whether it is alike is certain once the data are read: see :meth:`Earlier.on`.

    Raises:
        PlanError: if there is no such study or table, or nothing in it fits the space.
        RecordReadError: if it is damaged.
    """
    from study.earlier_reading import read_source
    from study.record import read_plan_file

    if plan.warm_start is None:
        return None
    folder = studies / plan.name
    stored = (read_plan_file(folder) or {}).get("plan", {})
    if stored.get("warm_start") == plan.warm_start and (folder / EARLIER_FILE).exists():
        return _read_copy(folder / EARLIER_FILE)
    if plan.warm_start == plan.name:
        raise PlanError(f"--warm-start {plan.warm_start} is this study itself; name another one")
    return translate(read_source(plan.warm_start, studies), plan, space)


def keep(folder: Path, earlier: Earlier | None) -> None:
    """Keep in a study's folder what was handed over to it."""
    from study.atomic import write_atomically

    if earlier is not None:
        write_atomically(folder / EARLIER_FILE, json.dumps(earlier.to_json()) + "\n")


def _read_copy(path: Path) -> Earlier:
    try:
        return Earlier.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:  # among them ResultFormatError
        shown = str(error).splitlines()[0]
        raise PlanError(f"{path} cannot be read ({shown}); restore it from a copy") from None


def translate(source: "Source", plan: StudyPlan, space: SearchSpace) -> Earlier:
    """Return a source's trials as configurations of a space, with what differs named.

    A parameter that the source does not have takes its default here, one that is unknown here is
    passed over, and a trial with a value that cannot be had here is left out.

    Raises:
        PlanError: if nothing fits.
    """
    asked = f"--warm-start {plan.warm_start}"
    known = [parameter.name for parameter in space.parameters]
    shared = [name for name in known if name in source.parameters]
    if not shared:
        raise PlanError(
            f"{asked}: {source.described} has no parameter of space {space.name} "
            f"({', '.join(source.parameters[:_SHOWN]) or 'none at all'}); leave the option out"
        )
    fitting: list[EarlierTrial] = []
    misfits: Counter[str] = Counter()
    for trial in source.trials:
        params = _configuration(trial.params, space)
        if isinstance(params, str):
            misfits[params] += 1
        else:
            here = replace(trial, params=params, architecture=space.describe(params))
            fitting.append(here)
    if not fitting:
        why = f" ({_misfits(misfits)})" if misfits else ", as none was trained"
        raise PlanError(
            f"{asked}: none of the {len(source.trials)} trials of {source.described} fits space "
            f"{space.name}{why}; leave the option out, or let the space vary more"
        )
    lines = [f"{len(fitting)} of {len(source.trials)} trials of {source.described}"]
    if misfits:
        lines.append(f"without: {_misfits(misfits)}")
    for parameter in space.parameters:
        if parameter.name not in source.parameters:
            default = parameter.default
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            lines.append(f"parameter {parameter.name} is new: taken as {shown}")
    odd = [name for name in source.parameters if name not in known]
    if odd:
        lines.append(f"passed over, as unknown here: {', '.join(odd)}")
    of_scores = differences.of_scores(source, fitting, plan, space)
    of_teacher = differences.of_teacher(source, plan, space)
    lines += [
        *differences.of_values(source, space),
        *([of_teacher] if of_teacher else []),
        *of_scores,
        *differences.unknown(source),
    ]
    return Earlier(
        source.name,
        alike=not source.is_table and not of_scores,
        trials=tuple(fitting),
        lines=tuple(lines),
        data=source.data,
        teacher=None if of_teacher else source.teacher_key,
    )


def _misfits(counted: Counter[str]) -> str:
    """Say which values could not be had here: ``14 whose width=8 is not in this space``."""
    named = [f"{count} whose {value}" for value, count in counted.most_common(_SHOWN)]
    rest = sum(counted.values()) - sum(count for _, count in counted.most_common(_SHOWN))
    return "; ".join([*named, *([f"{rest} more"] if rest else [])])


def _configuration(given: Mapping[str, Any], space: SearchSpace) -> dict[str, Value] | str:
    """Return a configuration of the space, or what is wrong with it in a few words."""
    params: dict[str, Value] = {}
    for parameter in space.parameters:
        if not space.is_active(parameter, params):
            continue
        value = given.get(parameter.name, parameter.default)
        if isinstance(value, str):  # a table has all values as text
            with contextlib.suppress(SpaceError):
                value = parse_value(value, space, parameter.name)
        if parameter.check(value) is not None:
            return f"{parameter.name}={value} is not in this space"
        if not parameter.searched and value != parameter.default:
            return f"{parameter.name}={value} is held at {parameter.default} here"
        params[parameter.name] = value
    return params


def latency_factor(earlier: Sequence[tuple[Any, float]], here: Mapping[Any, float]) -> float:
    """Return how many times slower students are here than there: the median of those in both.

    Args:
        earlier: What identifies a student, and its latency (ms) there.
        here: Its latency (ms) here, of those measured.
    """
    return usual_ratio(
        [here[student] / ms for student, ms in earlier if student in here and ms > 0]
    )
