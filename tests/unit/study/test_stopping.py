"""Early stopping by Pareto rank, as a study goes on and as it is resumed from its record."""

from collections.abc import Mapping
from dataclasses import replace
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
from search_spaces.mnist_dense import SPACE
from study.arguments import parser
from study.proposal import distributions
from study.record import StudyRecord
from study.resolving import resolve
from study.scheduler import ParetoHalvingScheduler
from study.stopping import make_scheduler

ARGUMENTS = ("--space", "mnist_dense", "--data", "digits", "--sampler", "tpe")
STORED = SimpleNamespace(compared_by="score and latency")


class Driver:
    """Trains nothing, and does with the record and the scheduler what a driver and Ray do."""

    def __init__(self, folder: Path) -> None:
        self.plan, _ = resolve(parser().parse_args(ARGUMENTS))
        self.record = StudyRecord(folder, "study", None)
        self.record.set_attribute("reference_point", ReferencePoint(10.0, 100.0, 100.0).to_json())
        self.scheduler = self.resumed()

    def resumed(self) -> ParetoHalvingScheduler:
        scheduler = make_scheduler(self.plan, self.record, STORED, None)  # type: ignore[arg-type]
        assert isinstance(scheduler, ParetoHalvingScheduler)
        return scheduler

    def begin(self, epochs: int, temperature: float, control_of: int | None = None) -> int:
        params = SPACE.complete({"epochs": epochs, "temperature": temperature})
        number = self.record.add_trial(
            params,
            distributions(SPACE, params),
            source="sampler" if control_of is None else "control",
            label=None,
            architecture=SPACE.describe(params),
            epochs=epochs,
            control_of=control_of,
        )
        timing, ratio = Timing(1.0, 1.0), Ratio(20.0, 20.0, 20.0)
        latency = Latency(
            "cpu", 1, "float32", False, 9, timing, timing, timing, timing, ratio, ratio
        )
        self.record.measured(number, ModelSize(1.0, 1.0, 1), latency)
        return number

    def train(self, number: int, scores: Mapping[int, float]) -> list[str]:
        """Report epochs; of the last one Ray does not ask the scheduler."""
        trial = self.record.trial(number)
        said = []
        for epoch, score in scores.items():
            if epoch < trial.epochs:
                said.append(
                    decided(self.scheduler, number, epoch, score, protected=not trial.searched)
                )
            self.record.epoch(number, EpochResult(epoch, 1.0, 1.0, score, 0.1, 1.0))
        return said

    def end(self, number: int) -> None:
        trial = self.record.trial(number)
        outcome = Outcome("complete", None, trial.epochs, trial.val_score, 5.0, 3.0, "now")
        self.record.finish(number, outcome)


def decided(
    scheduler: ParetoHalvingScheduler,
    number: int,
    epoch: int,
    score: float,
    *,
    known: int = 0,
    protected: bool = False,
) -> str:
    config: dict[str, Any] = {"number": number, "protected": protected, "epochs_known": known}
    result = {"epoch": epoch, "val_score": score}
    return scheduler.on_trial_result(None, SimpleNamespace(config=config), result)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Nine trials have ended at epoch 3, which is a rung of a longer one that has passed it."""
    driver = Driver(tmp_path)
    for place in range(9):
        number = driver.begin(3, 1.0 + place / 10)
        driver.train(number, {1: 81.0 + place / 100, 2: 82.0, 3: 83.0 + place / 100})
        driver.end(number)
    assert driver.train(driver.begin(5, 3.0), {1: 82.5, 2: 82.5, 3: 82.5}) == ["CONTINUE"] * 3
    return driver


def test_a_resumed_study_has_the_rungs_that_it_had(driver: Driver) -> None:
    assert driver.resumed().halving._reached == driver.scheduler.halving._reached
    assert set(driver.scheduler.halving._reached[3]) == {9}


def test_an_epoch_that_is_on_record_is_not_judged_again(driver: Driver) -> None:
    resumed = driver.resumed()
    driver.train(driver.begin(5, 4.0), {1: 82.6, 2: 83.0, 3: 90.0})
    driver.train(driver.begin(5, 4.1), {1: 82.6, 2: 83.0, 3: 91.0})

    for scheduler in (resumed, driver.scheduler, driver.resumed()):
        assert decided(scheduler, 9, 3, 82.5, known=3) == "CONTINUE"
        assert not scheduler.stops
    assert decided(driver.scheduler, 9, 3, 82.5) == "STOP"


def test_a_rung_compares_by_the_latency_searched_by_once_some_are_known_on_the_idle_device(
    driver: Driver,
) -> None:
    before = driver.resumed().halving._reached
    for trial in driver.record.trials()[:9]:
        assert trial.latency is not None
        driver.record.timed(trial.architecture, replace(trial.latency, idle=True))
        idle = driver.record.trial(trial.number)
        assert idle.latency_ms != before[1][trial.number].latency_ms
    assert driver.resumed().halving._reached == before


def test_who_the_search_did_not_ask_for_is_in_no_race(driver: Driver) -> None:
    control = driver.begin(5, 5.0, control_of=9)
    driver.train(control, {1: 99.0, 2: 99.0, 3: 99.0})

    for scheduler in (driver.scheduler, driver.resumed()):
        assert all(control not in rung for rung in scheduler.halving._reached.values())
