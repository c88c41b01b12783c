"""Made-up records of the shape of real ones, for benchmarks."""

import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.results import (
    PLAN_FORMAT,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Session,
    Timing,
    Usage,
)
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import Choice, Value, configuration_key
from study.arguments import parser
from study.plan import StudyPlan
from study.proposal import distributions
from study.record import StudyRecord, now
from study.resolving import resolve

TEACHER_MS = 24.6


def configurations() -> Iterator[dict[str, Value]]:
    """Draw configurations of the space at random, each once."""
    draw = random.Random(0)
    seen = set()
    while True:
        params: dict[str, Value] = {}
        for parameter in SPACE.parameters:
            if not SPACE.is_active(parameter, params):
                continue
            if isinstance(parameter, Choice):
                params[parameter.name] = draw.choice(parameter.choices)
            elif parameter.kind == "int":
                params[parameter.name] = draw.randint(int(parameter.low), int(parameter.high))
            else:
                low, high = math.log(parameter.low), math.log(parameter.high)
                params[parameter.name] = math.exp(draw.uniform(low, high))
        if configuration_key(params) not in seen:
            seen.add(configuration_key(params))
            yield params


@dataclass(frozen=True)
class Course:
    """How one trial went: made up, but of the shape of real ones."""

    model: ModelSize
    latency: Latency
    epochs: tuple[EpochResult, ...]
    usage: Usage
    outcome: Outcome

    @classmethod
    def draw(cls, architecture: str, number: int, epochs: int) -> "Course":
        """Make up how trial ``number`` went; one architecture has one latency."""
        ratio = random.Random(architecture).uniform(1.5, 12.0)
        # Faster students know less, and most recipes are not the best for their student.
        draw = random.Random(number)
        best = 82.0 - ratio - abs(draw.gauss(0.0, 6.0))
        curve = tuple(
            EpochResult(
                epoch,
                train_loss=2.3 * math.exp(-epoch / 9) + draw.random() / 9,
                val_loss=2.2 * math.exp(-epoch / 9) + draw.random() / 9,
                val_score=best * (1 - math.exp(-epoch / 5)) + draw.random(),
                learning_rate=0.05 * (1 + math.cos(epoch / epochs * math.pi)) / 2,
                seconds=9.0 + draw.random(),
            )
            for epoch in range(1, epochs + 1)
        )
        student = Timing(TEACHER_MS / ratio, TEACHER_MS / ratio * 1.1)
        teacher = Timing(TEACHER_MS, TEACHER_MS * 1.1)
        bounds = Ratio(ratio, ratio * 0.97, ratio * 1.03)
        seconds = sum(epoch.seconds for epoch in curve)
        return cls(
            ModelSize(draw.uniform(0.1, 20.0), draw.uniform(5.0, 800.0), draw.randrange(10**8)),
            Latency(
                *("cpu (made up)", 1, "float32", False, 41),
                *(student, student, teacher, teacher, bounds, bounds),
            ),
            curve,
            Usage(0, round(1.1 * seconds, 3)),
            Outcome(
                status="complete",
                reason=None,
                epochs_done=epochs,
                val_score=curve[-1].val_score if curve else None,
                latency_ms=TEACHER_MS / ratio,
                train_seconds=seconds,
                finished_at=now(),
            ),
        )


def make_plan(name: str, trials: int, epochs: int) -> StudyPlan:
    """Return a plan as a launch makes it."""
    asked = ["--space", "cifar_blocks", "--data", "digits", "--name", name]
    asked += ["--trials", str(trials), "--max-epochs", str(epochs)]
    plan, _ = resolve(parser().parse_args(asked))
    return plan


def begin(folder: Path, plan: StudyPlan) -> StudyRecord:
    """Write a plan and return its empty record."""
    folder.mkdir(parents=True)
    document = {
        "format": PLAN_FORMAT,
        "name": plan.name,
        "created_at": now(),
        "hash": "0" * 16,
        "plan": plan.to_json(),
        "space": SPACE.to_json(),
        "data": {
            **{"name": "digits", "classes": [str(digit) for digit in range(10)]},
            **{"train": 1437, "validation": 180, "test": 180, "student_train": 1437},
            **{"shape": [8, 8, 1], "hash": "0" * 16, "source": "made up", "floor_score": 10.0},
        },
    }
    (folder / "plan.json").write_text(json.dumps(document))
    record = StudyRecord(folder, plan.name, None)
    record.set_attribute("reference_point", ReferencePoint(10.0, TEACHER_MS, 100.0).to_json())
    return record


@contextmanager
def without_waiting_for_the_disk() -> Iterator[None]:
    """Have fsync do nothing, while a record is made up."""
    real = os.fsync
    os.fsync = lambda fd: None
    try:
        yield
    finally:
        os.fsync = real


def write_as_a_driver(folder: Path, trials: int, epochs: int) -> None:
    """Write a finished study, every event of every trial a line."""
    record = begin(folder, make_plan(folder.name, trials, epochs))
    for number, params in zip(range(trials), configurations(), strict=False):
        course = Course.draw(SPACE.describe(params), number, epochs)
        add(record, params, epochs)
        record.measured(number, course.model, course.latency)
        for done, epoch in enumerate(course.epochs, start=1):
            record.epoch(number, epoch)
            record.use(number, Usage(0, round(10.0 * done, 3)))
        record.finish(number, course.outcome)
        record.set_run_id(number, f"{number:032x}")
    record.add_session(Session(now(), 3600.0, "complete"))


def write_at_once(folder: Path, trials: int, epochs: int, planned: int) -> StudyRecord:
    """Write a study whose trials have all ended, a trial a line; return its record."""
    from optuna.trial import TrialState, create_trial

    record = begin(folder, make_plan(folder.name, planned, epochs))
    ended = []
    for number, params in zip(range(trials), configurations(), strict=False):
        course = Course.draw(SPACE.describe(params), number, epochs)
        outcome = course.outcome
        curve = {f"epoch:{e.epoch:04d}": e.to_json() for e in course.epochs}
        attributes = {
            **{"source": "sampler", "label": None, "architecture": SPACE.describe(params)},
            **{"epochs": epochs, "started_at": now()},
            **{"model": course.model.to_json(), "latency": course.latency.to_json()},
            **curve,
            **{"usage": course.usage.to_json(), "outcome": outcome.to_json()},
        }
        ended.append(
            create_trial(
                state=TrialState.COMPLETE,
                values=[outcome.val_score, outcome.latency_ms],
                params=params,
                distributions=distributions(SPACE, params),
                user_attrs=attributes,
            )
        )
    record.study.add_trials(ended)
    return StudyRecord(folder, folder.name, None)


def add(record: StudyRecord, params: dict[str, Value], epochs: int) -> int:
    return record.add_trial(
        params,
        distributions(SPACE, params),
        source="sampler",
        label=None,
        architecture=SPACE.describe(params),
        epochs=epochs,
    )
