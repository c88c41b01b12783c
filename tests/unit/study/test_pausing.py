"""Trials that wait at rungs: what the queue hands out, and what the scheduler says to Ray."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
    TrialResult,
)
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import THIRD_OBJECTIVES, SearchSpace, configuration_key
from study.arguments import parser
from study.budget import UNBOUNDED, Left
from study.guide import Guide
from study.plan import StudyPlan
from study.progress import Progress
from study.record import StudyRecord, now
from study.recorder import WAITED, Limits, Recorder
from study.resolving import resolve
from study.scheduler import PausingScheduler
from study.search.coding import Array
from study.search.latency_first import LatencyFirst, first_of
from study.searcher import TrialQueue
from study.seed_points import seed_points
from study.tracking.tracker import Tracker
from study.trial_context import TrialTask, trial_folder
from study.waiting import disk_is_low, why_it_waits

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
    millions: Callable[[Any], float] = lambda params: 1.0

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
            millions = self.millions(task.params)
            size = ModelSize(millions, 10.0 * millions, 1)
            self.record.measured(task.number, size, latency(task.params))
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


def make_driver(
    folder: Path,
    *arguments: str,
    left: Callable[[], Left] = lambda: UNBOUNDED,
    third: float | None = None,
) -> Driver:
    plan, space = make_plan(*arguments)
    folder.mkdir(exist_ok=True)
    record = StudyRecord(folder, "study", None, plan.third)
    point = ReferencePoint(10.0, 100.0, 100.0, third)
    record.set_attribute("reference_point", point.to_json())
    seeds = seed_points(space, None, plan.fixed)
    guide = Guide(record, space, plan)
    queue = TrialQueue(record, space, plan, seeds, lambda: False, guide, None, left)
    return Driver(record, queue)


def test_a_small_study_learns_before_its_last_trial_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt_from = []
    worth = LatencyFirst._worth_of_new

    def look(search: LatencyFirst, genes: Array) -> Array:
        learnt_from.append(len(driver.record.trials()))
        return worth(search, genes)

    monkeypatch.setattr(LatencyFirst, "_worth_of_new", look)
    driver = make_driver(tmp_path, "--trials", "16")
    while driver.step():
        pass

    assert min(learnt_from) == first_of(16) == 6
    assert len(driver.record.trials()) == 16


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


def small_where_slow(params: Any) -> float:
    return float(params["stem_stride"]) / float(params["width"])


def of_three(folder: Path, third: float | None, objective: str, trials: int) -> Driver:
    arguments = ("--trials", str(trials), "--objectives", f"score,latency,{objective}")
    driver = make_driver(folder, *arguments, third=third)
    driver.millions = small_where_slow
    while driver.step():
        assert len(driver.handed) < 300
    return driver


def test_a_study_of_three_objectives_looks_within_the_corner_of_the_third(tmp_path: Path) -> None:
    def within(folder: str, corner: float) -> int:
        driver = of_three(tmp_path / folder, corner, "flops", 22)
        models = [trial.model for trial in driver.record.trials()[16:]]
        return sum(model is not None and model.flops_m < 1.0 for model in models)

    assert within("narrow", 1.0) > within("wide", 100.0)


@pytest.mark.parametrize("objective", ["params", "flops"])
def test_the_search_is_shown_the_third_of_each_student(tmp_path: Path, objective: str) -> None:
    driver = of_three(tmp_path, 1.0, objective, 4)
    trials, guide = driver.record.trials(), driver.queue._pausing
    assert guide is not None

    times = 10.0 if objective == "flops" else 1.0
    shown = [training.third for training in guide._seen(trials, ())]
    assert shown == [times * small_where_slow(trial.params) for trial in trials]


def test_a_record_without_that_corner_is_gone_on_with_as_before(tmp_path: Path) -> None:
    driver = of_three(tmp_path / "before", None, "params", 18)
    two = make_driver(tmp_path / "two", "--trials", "18")
    two.millions = small_where_slow
    while two.step():
        pass

    assert driver.handed == two.handed
    assert [t.params for t in driver.record.trials()] == [t.params for t in two.record.trials()]


@pytest.mark.parametrize("seconds", [300, 400])
def test_a_budget_of_time_is_spent_on_what_comes_to_its_end(tmp_path: Path, seconds: int) -> None:
    spent = 0

    def left() -> Left:
        return Left(each=seconds - spent)

    driver = make_driver(tmp_path, "--trials", "200", "--budget", f"{seconds}s", left=left)
    begun_with: list[int] = []
    while driver.step():
        trials = driver.record.trials()
        begun_with += [seconds - spent] * (len(trials) - len(begun_with))
        spent = sum(trial.epochs_done for trial in trials)

    # Each epoch of these took a second.
    trials = driver.record.trials()
    assert spent <= seconds
    assert driver.queue.out_of_time
    assert len(trials) < 200
    # When the last ones began there was time for a whole training, and then for who was worth it.
    assert min(begun_with) >= EPOCHS
    assert sum(trial.epochs_done == EPOCHS for trial in trials[2:]) >= 3
    # Nobody could have ended in what is left but those that add nothing.
    assert seconds - spent < 2 * EPOCHS


def test_what_cannot_end_in_time_neither_begins_nor_goes_on(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "200", "--budget", "1h")
    for _ in range(20):
        driver.step()
    before = driver.record.trials()

    late = make_driver(
        tmp_path,
        "--trials",
        "200",
        "--budget",
        "1h",
        left=lambda: Left(each=EPOCHS - RUNGS[-1] - 1),
    )

    assert late.queue.next_task() is None
    assert late.queue.out_of_time
    assert late.record.trials() == before


@pytest.mark.parametrize("is_late", [True, False])
def test_once_all_have_begun_it_is_told_whether_time_kept_one_from_its_end(
    tmp_path: Path, is_late: bool
) -> None:
    budget = ("--trials", "16", "--budget", "1h")
    driver = make_driver(tmp_path, *budget)
    while len(driver.record.trials()) < 16:
        driver.step()
    assert any(trial.epochs_done < EPOCHS for trial in driver.record.trials())
    if not is_late:  # whoever is worth it comes to its end
        while driver.step():
            pass

    left = Left(each=1.0 if is_late else 3600.0)
    last = make_driver(tmp_path, *budget, left=lambda: left)

    assert last.queue.next_task() is None
    assert last.queue.out_of_time is is_late


def test_nobody_is_handed_out_twice_at_once(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, "--trials", "20")
    for _ in range(14):
        driver.step()

    numbers = []
    for _ in range(6):
        task = driver.queue.next_task()
        assert task is not None
        if task.latency is None:
            size = ModelSize(1.0, 1.0, 1)
            driver.record.measured(task.number, size, latency(task.params))
        numbers.append(task.number)

    assert len(set(numbers)) == 6


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


def with_waiting(folder: Path) -> tuple[Driver, Guide, Recorder]:
    """A study in its middle, its guide, and who ends its trials."""
    driver = make_driver(folder, "--trials", "20")
    for _ in range(16):
        driver.step()
    guide = driver.queue._pausing
    assert guide is not None
    progress, limits = Progress(io.StringIO(), quiet=True), Limits()
    recorder = Recorder(driver.record, Tracker(), progress, {}, driver.queue, limits, guide=guide)
    return driver, guide, recorder


def waiting(driver: Driver, guide: Guide) -> list[int]:
    return [trial.number for trial in driver.record.trials() if guide.waits(trial)]


def test_trials_that_waited_to_the_end_say_at_which_rung_and_behind_whom(tmp_path: Path) -> None:
    driver, guide, recorder = with_waiting(tmp_path)
    numbers = waiting(driver, guide)
    assert len(numbers) > 5
    recorder.close(WAITED)

    trials = driver.record.trials()
    complete = {trial.name: trial for trial in trials if trial.status == "complete"}
    behind = 0
    for number in numbers:
        trial = trials[number]
        assert trial.status == "stopped"
        assert trial.outcome is not None
        assert trial.outcome.rung == trial.epochs_done
        reason = trial.reason or ""
        assert reason.startswith(f"waited at epoch {trial.epochs_done}, expected to end at ")
        rivals = re.findall(r"t\d{4}", reason)
        behind += bool(rivals)
        for rival in rivals:
            assert (complete[rival].latency_ms or 0) <= (trial.latency_ms or 0)
        assert rivals or reason.endswith("too little to add to the front")
    assert behind


def test_a_budget_that_is_spent_says_so_of_who_waited(tmp_path: Path) -> None:
    driver, guide, recorder = with_waiting(tmp_path)
    number = waiting(driver, guide)[0]
    recorder.close("the budget of 5 min is spent")

    reason = driver.record.trial(number).reason or ""
    assert reason.startswith("the budget of 5 min is spent; waited at epoch ")


def test_of_too_many_that_wait_who_promises_least_is_given_up(tmp_path: Path) -> None:
    driver, guide, recorder = with_waiting(tmp_path)
    numbers = waiting(driver, guide)
    for number in numbers:
        trial_folder(tmp_path, number).mkdir(parents=True)
    best = guide.next_to_go_on(driver.record.trials(), (), may_begin=False)
    recorder.bound_waiting()
    assert waiting(driver, guide) == numbers

    guide.most_waiting = 3
    recorder.bound_waiting()

    left = waiting(driver, guide)
    assert len(left) == 3
    assert best in left
    for number in set(numbers) - set(left):
        reason = driver.record.trial(number).reason or ""
        assert reason.startswith("given up when more than 3 trials waited: waited at epoch ")
        assert not trial_folder(tmp_path, number).exists()
    assert all(trial_folder(tmp_path, number).exists() for number in left)


def test_who_is_given_up_is_the_same_for_a_driver_that_takes_over(tmp_path: Path) -> None:
    driver, guide, _ = with_waiting(tmp_path)
    guide.most_waiting = 3
    later = make_driver(tmp_path, "--trials", "20").queue._pausing
    assert later is not None
    later.most_waiting = 3
    trials = driver.record.trials()

    assert guide.surplus(trials, ()) == later.surplus(trials, ()) is not None
    running = waiting(driver, guide)[3:]
    assert guide.surplus(trials, running) is None


def test_the_disk_runs_low_when_it_has_no_room_for_a_few_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, size in enumerate((100, 5000)):
        folder = trial_folder(tmp_path, number)
        folder.mkdir(parents=True)
        (folder / "last.pt").write_bytes(b"x" * size)
    checkpoints = tmp_path / "checkpoints"

    assert not disk_is_low(checkpoints, (0, 1, 2))
    # A full disk is not to be had here.
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=49_000))
    assert disk_is_low(checkpoints, (0, 1))
    assert not disk_is_low(checkpoints, (0,))
    assert not disk_is_low(checkpoints, ())


def test_before_anything_can_be_expected_those_that_went_on_are_named() -> None:
    def trial(number: int, *scores: float, milliseconds: float = 2.0) -> TrialResult:
        curve = tuple(EpochResult(n, 1.0, 1.0, s, 0.1, 1.0) for n, s in enumerate(scores, start=1))
        return TrialResult(
            number, "sampler", None, {}, "a", 9, curve=curve, search_latency_ms=milliseconds
        )

    mine = trial(0, 50.0, 60.0)
    others = [
        trial(1, 40.0, 70.0, 75.0),
        trial(2, 40.0, 70.0),
        trial(3, 40.0, 70.0, 80.0, milliseconds=3.0),
        trial(4, 55.0, 55.0, 90.0),
    ]

    score = SPACE.score
    assert why_it_waits(mine, None, [mine, *others], score) == (
        "waited at epoch 2, behind t0001 in accuracy and latency"
    )
    assert why_it_waits(mine, None, [mine], score) == "waited at epoch 2"

    def sized(trial: TrialResult, millions: float) -> TrialResult:
        return replace(trial, model=ModelSize(millions, 1.0, 1))

    third = THIRD_OBJECTIVES["params"]
    small, large = sized(others[0], 1.0), sized(others[0], 3.0)
    assert why_it_waits(sized(mine, 2.0), None, [small], score, third) == (
        "waited at epoch 2, behind t0001 in accuracy, latency and parameters"
    )
    assert why_it_waits(sized(mine, 2.0), None, [large], score, third) == "waited at epoch 2"


@pytest.mark.parametrize(
    ("result", "known", "protected", "decision"),
    [
        ({"epoch": 2}, 0, False, "STOP"),
        ({"epoch": 2}, 0, True, "CONTINUE"),
        ({"epoch": 3}, 0, False, "CONTINUE"),
        ({"epoch": 0}, 0, False, "CONTINUE"),
        # It goes on from the rung.
        ({"epoch": 2}, 2, False, "CONTINUE"),
        # Its worker had done an epoch more than its driver, which was killed, had heard of.
        ({"epoch": 2}, 1, False, "STOP"),
        ({"epoch": 2, "failure": "the loss is nan"}, 0, False, "CONTINUE"),
        ({"epoch": 2, "done": True}, 0, False, "CONTINUE"),
    ],
)
def test_a_trial_gives_its_worker_back_at_a_rung_it_has_just_reached(
    result: dict[str, Any], known: int, protected: bool, decision: str
) -> None:
    scheduler = PausingScheduler(lambda number, epoch: epoch == 2)
    config = {"number": 7, "protected": protected, "epochs_known": known}
    trial = SimpleNamespace(config=config)

    assert scheduler.on_trial_result(None, trial, result) == decision
    assert scheduler.paused == ({7} if decision == "STOP" else set())
