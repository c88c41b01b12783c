"""The queue of a search that has nothing left to propose, against a real record."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
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
from search_spaces.space import Choice, Parameter, Range, SearchSpace
from study.arguments import parser
from study.proposal import propose
from study.record import StudyRecord
from study.resolving import resolve
from study.searcher import TrialQueue
from study.trial_attributes import now

WIDTH = Choice("width", (16, 32), "", architecture=True)
METHOD = Choice("method", ("response", "none"), "")
RATE = Range("learning_rate", 0.01, 0.3, "", log=True)
TIMING, RATIO = Timing(2.0, 2.5), Ratio(2.0, 1.9, 2.1)
LATENCY = Latency("cpu", 1, "float32", False, 20, TIMING, TIMING, TIMING, TIMING, RATIO, RATIO)
DRAWN = "each of the last 544 configurations drawn has been tried or is known to break a constraint"


class Search:
    """A driver's queue over a record; what it proposes is counted."""

    def __init__(self, folder: Path, *parameters: Parameter) -> None:
        space = SearchSpace(
            name="small",
            title="small",
            description="small",
            parameters=parameters,
            control={"method": "none"},
            build_student=lambda params, classes, shape: None,
            describe=lambda params: str(params["width"]),
        )
        asked = ["--space", "cifar_blocks", "--data", "digits", "--trials", "99"]
        plan, _ = resolve(parser().parse_args([*asked, "--sampler", "random"]))
        self.record = StudyRecord(folder, "study", None)
        point = ReferencePoint(10.0, 10.0, 100.0)
        self.record.set_attribute("reference_point", point.to_json())
        self.queue = TrialQueue(
            self.record, space, replace(plan, max_params_m=2.0), (), lambda: False
        )

    def begin(self) -> list[int]:
        """All that is handed out, one after another; each student is timed before the next."""
        numbers = []
        while (task := self.queue.next_task()) is not None:
            numbers.append(task.number)
            self.time(task.number)
            assert len(numbers) < 20
        return numbers

    def time(self, number: int) -> None:
        """A worker's first report."""
        self.record.measured(number, ModelSize(1.0, 1.0, 1), LATENCY)

    def end(self, number: int, *, size: float = 1.0) -> None:
        """End a trial, whose student is too large from 2 on."""
        self.record.measured(number, ModelSize(size, 1.0, 1), LATENCY)
        self.record.epoch(number, EpochResult(1, 1.0, 1.0, 50.0, 0.1, 1.0))
        status = "infeasible" if size > 2.0 else "complete"
        self.record.finish(number, Outcome(status, None, 1, 50.0, 5.0, 1.0, now()))  # type: ignore[arg-type]
        self.queue.ended(number)


@pytest.fixture
def proposals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of trials at each time that a configuration was searched for."""
    asked: list[int] = []

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            asked.append(kwargs["number"])
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr("study.searcher.propose", counted(propose))
    return asked


def test_an_exhausted_space_is_searched_once_and_again_when_a_trial_ends(
    tmp_path: Path, proposals: list[int]
) -> None:
    search = Search(tmp_path, WIDTH, METHOD)
    assert search.begin() == [0, 1, 2, 3]
    for _ in range(5):
        assert search.begin() == []
    assert proposals == [0, 1, 2, 3, 4]

    search.end(2)
    assert search.begin() == search.begin() == []
    assert proposals == [0, 1, 2, 3, 4, 4]
    assert search.queue.exhausted == "every configuration of the space has been tried"


def test_an_infinite_space_whose_draws_are_all_refused_has_not_been_tried(
    tmp_path: Path, proposals: list[int]
) -> None:
    search = Search(tmp_path, WIDTH, METHOD, RATE)
    widths: dict[Any, int] = {}
    while len(widths) < 2:
        task = search.queue.next_task()
        assert task is not None
        widths.setdefault(task.params["width"], task.number)
    assert search.queue.exhausted == ""
    for number in widths.values():
        search.end(number, size=3.0)

    proposals.clear()
    assert search.begin() == search.begin() == []
    assert len(proposals) == 1
    assert search.queue.exhausted == DRAWN


def test_no_student_is_timed_twice_however_many_of_it_begin_at_once(tmp_path: Path) -> None:
    search = Search(tmp_path, Choice("width", (16,), "", architecture=True), METHOD)
    first = search.queue.next_task()
    assert first is not None
    assert first.latency is None
    for _ in range(3):  # Ray asks again and again
        assert search.queue.next_task() is None
        assert search.queue.may_grow
    assert len(search.record.trials()) == 2

    search.time(first.number)
    second = search.queue.next_task()
    assert second is not None
    assert (second.number, second.latency) == (1, LATENCY.to_json())


def test_a_student_whose_worker_died_while_it_was_timed_is_timed_by_the_next(
    tmp_path: Path,
) -> None:
    search = Search(tmp_path, Choice("width", (16,), "", architecture=True), METHOD)
    first = search.queue.next_task()
    assert first is not None
    assert search.queue.next_task() is None
    search.queue.again(first.number)

    next_one = search.queue.next_task()
    assert next_one is not None
    assert (next_one.number, next_one.latency) == (1, None)
    assert search.queue.next_task() is None
    search.time(next_one.number)
    again = search.queue.next_task()
    assert again is not None
    assert (again.number, again.latency) == (first.number, LATENCY.to_json())


def test_students_of_other_architectures_begin_at_once(tmp_path: Path) -> None:
    search = Search(tmp_path, WIDTH, Choice("method", ("none",), ""))
    tasks = [search.queue.next_task() for _ in range(2)]
    assert all(task is not None and task.latency is None for task in tasks)
