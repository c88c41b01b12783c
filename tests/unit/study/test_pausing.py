"""Trials that wait at rungs: what the queue hands out, and what the scheduler says to Ray."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Timing,
)
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import SearchSpace, configuration_key
from study.arguments import parser, resolve
from study.guide import Guide
from study.plan import StudyPlan, seed_points
from study.record import StudyRecord, now
from study.scheduler import PausingScheduler
from study.searcher import TrialQueue
from study.trial import TrialTask

EPOCHS = 26
RUNGS = (2, 6, 18)
ARGUMENTS = ("--space", "cifar_blocks", "--data", "digits", "--max-epochs", str(EPOCHS))
SEARCH = ("--sampler", "latency-first", "--scheduler", "pause")


def latency(params: Any) -> Latency:
    milliseconds = 0.2 * int(params["width"]) * sum(int(params[f"blocks_{n}"]) for n in range(1, 5))
    milliseconds = 0.1 + milliseconds / int(params["stem_stride"])
    ratio = Ratio(100 / milliseconds, 100 / milliseconds, 100 / milliseconds)
    timing = Timing(milliseconds, milliseconds)
    teacher = Timing(100.0, 100.0)
    return Latency("cpu", 1, "float32", False, 9, timing, timing, teacher, teacher, ratio, ratio)


def score(params: Any, epoch: int) -> float:
    return 95.0 - 40.0 * abs(float(params["learning_rate"]) - 0.05) - 50.0 / (1 + epoch)


@dataclass
class Driver:
    """Trains nothing, and does with the record and the queue what a driver does."""

    record: StudyRecord
    queue: TrialQueue
    handed: list[int] = field(default_factory=list)

    def step(self) -> bool:
        task = self.queue.next_task()
        if task is None:
            return False
        self.train(task)
        return True

    def train(self, task: TrialTask) -> None:
        self.handed.append(task.number)
        trial = self.record.trial(task.number)
        if trial.model is None:
            self.record.measured(task.number, ModelSize(1.0, 1.0, 1), latency(task.params))
        rungs = (EPOCHS,) if task.protected else (*RUNGS, EPOCHS)
        until = next(rung for rung in rungs if rung > trial.epochs_done)
        for epoch in range(trial.epochs_done + 1, until + 1):
            result = EpochResult(epoch, 1.0, 1.0, score(task.params, epoch), 0.1, 1.0)
            self.record.epoch(task.number, result)
        if until < EPOCHS:
            self.queue.waits(task.number)
            return
        reached = self.record.trial(task.number)
        outcome = Outcome(
            "complete", None, EPOCHS, reached.val_score, reached.search_latency_ms, 1.0, now()
        )
        self.record.finish(task.number, outcome)
        self.queue.ended(task.number)


def make_plan(*arguments: str) -> tuple[StudyPlan, SearchSpace]:
    return resolve(parser().parse_args([*ARGUMENTS, *SEARCH, *arguments]))


def make_driver(folder: Path, *arguments: str) -> Driver:
    plan, space = make_plan(*arguments)
    record = StudyRecord(folder, "study", None)
    point = ReferencePoint(10.0, 100.0, 100.0)
    record.set_attribute("reference_point", point.to_json())
    seeds = seed_points(space, None, plan.fixed)
    queue = TrialQueue(record, space, plan, seeds, lambda: False, Guide(record, space, plan))
    return Driver(record, queue)


def test_a_study_ends_with_a_front_and_nothing_that_promises_to_join_it(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "16")
    while driver.step():
        assert len(driver.handed) < 200

    trials = driver.record.trials()
    assert len(trials) == 16
    assert [trial.epochs_done for trial in trials[:2]] == [EPOCHS, EPOCHS]
    assert {trial.epochs_done for trial in trials} <= {*RUNGS, EPOCHS}
    assert any(trial.epochs_done == EPOCHS for trial in trials[2:])
    assert any(trial.epochs_done == RUNGS[0] for trial in trials[2:])
    assert len({configuration_key(trial.params) for trial in trials}) == 16


def test_nobody_is_handed_out_twice_at_once(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "20")
    for _ in range(14):
        driver.step()

    tasks = [driver.queue.next_task() for _ in range(6)]

    numbers = [task.number for task in tasks if task is not None]
    assert len(numbers) == len(set(numbers)) == 6


def test_a_driver_that_takes_over_lets_those_wait_that_waited(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "20")
    for _ in range(14):
        driver.step()
    expected = driver.queue.next_task()
    assert expected is not None

    taken_over = make_driver(tmp_path, "--trials", "20")
    task = taken_over.queue.next_task()

    # What the first driver had just handed out stands at a rung, or has not begun.
    assert task is not None
    assert task.number == expected.number


def test_a_replicate_that_stands_at_a_rung_does_not_wait_for_the_search(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "4")
    while driver.step():
        pass
    waiting = set(driver.record.interrupted())
    replicate = driver.record.add_replicate(0, 1)
    driver.record.measured(replicate, ModelSize(1.0, 1.0, 1), latency(SPACE.complete({})))
    for epoch in range(1, RUNGS[0] + 1):
        driver.record.epoch(replicate, EpochResult(epoch, 1.0, 1.0, 90.0, 0.1, 1.0))

    taken_over = make_driver(tmp_path, "--trials", "4")
    task = taken_over.queue.next_task()

    assert task is None or task.number in waiting
    assert replicate in driver.record.interrupted()


def test_a_finite_space_that_is_exhausted_ends_after_who_still_promises(tmp_path: Path) -> None:
    values = {
        **{p.name: p.default for p in SPACE.parameters if p.searched},
        "terms": "ce",
        **{f"blocks_{n}": 1 for n in range(1, 5)},
    }
    free = ("width", "stem_stride", "temperature", "alpha")
    held = [
        word
        for name, value in values.items()
        if name not in free
        for word in ("--fix", f"{name}={value}")
    ]
    driver = make_driver(tmp_path, "--trials", "50", *held)
    while driver.step():
        assert len(driver.handed) < 200

    assert driver.queue.exhausted
    assert len(driver.record.trials()) < 50


@pytest.mark.parametrize(
    ("result", "protected", "decision"),
    [
        ({"epoch": 2}, False, "STOP"),
        ({"epoch": 2}, True, "CONTINUE"),
        ({"epoch": 3}, False, "CONTINUE"),
        ({"epoch": 0}, False, "CONTINUE"),
        ({"epoch": 2, "model/params_m": 1.0}, False, "CONTINUE"),
        ({"epoch": 2, "failure": "the loss is nan"}, False, "CONTINUE"),
        ({"epoch": 2, "done": True}, False, "CONTINUE"),
    ],
)
def test_a_trial_gives_its_worker_back_at_a_rung_it_has_just_reached(
    result: dict[str, Any], protected: bool, decision: str
) -> None:
    scheduler = PausingScheduler(lambda number, epoch: epoch == 2)
    trial = SimpleNamespace(config={"number": 7, "protected": protected})

    assert scheduler.on_trial_result(None, trial, result) == decision
    assert scheduler.paused == ({7} if decision == "STOP" else set())
