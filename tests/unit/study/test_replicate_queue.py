"""What is handed out when the search is over, against a real record; nothing is trained here."""

from dataclasses import replace
from pathlib import Path

import pytest
from replicated_study import Params, Study, latency

from analysis.front import kd_pairs
from analysis.results import (
    EpochResult,
    ModelSize,
    OutcomeStatus,
    TrialResult,
    Usage,
)
from search_spaces.cifar_blocks import SPACE
from search_spaces.cifar_self import SPACE as EXITS
from study.proposal import propose
from study.replicates import further
from study.searcher import TrialQueue


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A search that found two far apart, each distilled, and a third that both beat by far."""
    made = Study(tmp_path, SPACE)
    made.search(60.0, 1.0, width=16)
    made.search(90.0, 5.0, width=64)
    made.search(20.0, 9.0, width=32)
    return made


def test_the_front_and_its_controls_are_trained_as_often_as_asked_and_nothing_else(
    study: Study,
) -> None:
    done = study.run()

    trials = study.record.trials()
    controls = [trial for trial in trials if trial.control_of is not None]
    assert [trial.control_of for trial in controls] == [0, 1]
    assert all(SPACE.is_control(trial.params) for trial in controls)
    assert all(trial.source == "control" and trial.run == 0 for trial in controls)
    firsts = [0, 1, *(trial.number for trial in controls)]
    assert sorted(r for r in done if r[0] is not None) == sorted(
        (first, run) for first in firsts for run in (1, 2)
    )
    assert study.totals[-1] == len(done) == len(further(trials)) == 10
    assert study.next() is None
    assert not study.queue.may_grow


def test_nothing_is_trained_where_one_run_is_asked_for(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "1"))
    study.search(60.0, 1.0)

    assert study.run() == []
    assert len(study.record.trials()) == 1


def test_a_round_ends_before_the_next_is_decided(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "2"))
    study.search(60.0, 1.0, terms="ce")
    first = study.next()
    assert first is not None
    assert first.replicate_of == 0

    assert study.next() is None
    assert study.queue.may_grow
    # Beaten by a rival by its mean, which nobody knew before: the next round is the rival's.
    study.finish(first.number, 60.0)
    assert study.next() is None
    assert not study.queue.may_grow


def test_a_rival_that_enters_the_front_by_its_mean_gets_its_runs_and_its_control(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "2"))
    leader = study.search(60.0, 1.0, width=16)
    rival = study.search(59.9, 2.0, width=16, terms="ce", learning_rate=0.02)
    while (trial := study.next()) is not None:
        falls = trial.replicate_of == leader
        study.finish(trial.number, 50.0 if falls else 59.0)

    asked = {(trial.replicate_of, trial.run) for trial in study.record.trials()}
    assert (rival, 1) in asked


def test_a_failed_run_is_not_asked_for_again_and_a_stopped_one_is_in_another_run(
    study: Study,
) -> None:
    handed: list[TrialResult] = []
    while (trial := study.next()) is not None:
        handed.append(trial)
        status: OutcomeStatus = "complete"
        if trial.replicate_of == 0:
            status = "failed" if trial.run == 1 else "stopped"
        study.finish(trial.number, study.score(trial), status)

    runs = [(trial.replicate_of, trial.run) for trial in handed]
    assert runs.count((0, 1)) == runs.count((0, 2)) == 1

    assert study.again().run() == [(0, 2)]
    assert study.again().run() == []


def test_a_control_that_failed_is_not_tried_again(study: Study) -> None:
    tried = 0
    while (trial := study.next()) is not None:
        control = trial.control_of == 1
        tried += control
        study.finish(trial.number, 50.0, "failed" if control else "complete")

    assert tried == 1
    assert study.again().run() == []


def test_a_control_that_scored_too_little_in_the_search_is_trained_once_more(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "2", "--min-score", "55"))
    member = study.search(60.0, 1.0, width=16)
    poor = study.search(50.0, 1.0, "infeasible", width=16, terms="ce")

    done = study.run(shift=0.0)

    (control,) = [t for t in study.record.trials() if t.control_of == member]
    assert control.params == study.record.trial(poor).params
    assert sorted(done, key=str) == [(member, 1), (control.number, 1), (None, 0)]
    (pair,) = kd_pairs(study.record.trials(), study.stored)
    assert (pair.distilled.number, pair.control.number) == (member, control.number)
    assert study.again().run() == []


def test_a_space_without_controls_has_its_front_trained_again_and_no_other(tmp_path: Path) -> None:
    study = Study(tmp_path, replace(SPACE, control={}))
    study.search(60.0, 1.0, width=16)
    study.search(20.0, 9.0, width=32)

    assert study.run() == [(0, 1), (0, 2)]
    assert {trial.source for trial in study.record.trials()} == {"sampler", "replicate"}


def test_another_driver_goes_on_with_what_is_open_and_with_the_same_round(
    study: Study, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = Study(tmp_path_factory.mktemp("whole"), SPACE)
    for found in study.record.trials():
        assert found.val_score is not None
        whole.search(found.val_score, found.latency_ms or 0, width=found.params["width"])
    expected = whole.run()

    done = []
    for _ in range(len(expected) - 1):
        begun = study.next()
        study = study.again()  # killed: the trial is open
        trial = study.next()
        assert begun is not None
        assert trial is not None
        assert trial.number == begun.number
        done.append((trial.replicate_of, trial.run))
        study.finish(trial.number, study.score(trial) + 0.5 * trial.run)

    assert [*done, *study.run()] == expected


def test_more_replicates_add_to_those_that_are_there(study: Study) -> None:
    study.run()

    done = study.again("--replicates", "4").run()

    assert {run for _, run in done} == {3}
    assert len(done) == 4


def test_nothing_is_handed_out_once_it_is_enough(study: Study) -> None:
    study.enough = True

    assert study.next() is None
    assert not study.queue.may_grow


def test_a_run_whose_worker_died_comes_again(study: Study) -> None:
    trial = study.next()
    assert trial is not None
    study.queue.again(trial.number)

    task = study.queue.next_task()

    assert task is not None
    assert (task.number, task.params, task.run) == (trial.number, trial.params, trial.run)
    assert task.protected


def test_a_student_of_several_exits_is_trained_again_once_for_all_of_them(tmp_path: Path) -> None:
    study = Study(tmp_path, EXITS, ("--replicates", "2"))
    params = EXITS.complete({"method": "none"})
    number = study.search(60.0, 5.0, method="none")
    siblings = EXITS.siblings(params)
    for place, other in enumerate(siblings):
        study.record.add_exit(
            number,
            other["exit"],
            architecture=EXITS.describe(other),
            model=ModelSize(1.0, 1.0, 1),
            latency=latency(4.0 - place),
            curve=[EpochResult(1, 1.0, 1.0, 55.0 - place, 0.1, 1.0)],
        )
    exits = {trial.params["exit"]: trial.number for trial in study.record.trials()}
    trial = study.next()
    assert trial is not None
    assert (trial.replicate_of, trial.run) == (number, 1)

    leave_at = siblings[0]["exit"]
    added = study.record.add_exit(
        trial.number,
        leave_at,
        architecture=EXITS.describe(siblings[0]),
        model=ModelSize(1.0, 1.0, 1),
        latency=latency(4.0),
        curve=[EpochResult(1, 1.0, 1.0, 56.0, 0.1, 1.0)],
    )
    study.finish(trial.number, 61.0)

    replicate = study.record.trial(added)
    assert (replicate.source, replicate.replicate_of, replicate.run, replicate.trained_with) == (
        *("replicate", exits[leave_at], 1),
        trial.number,
    )
    assert study.run() == []


# The search beside them


def test_the_search_counts_no_replicates_and_leaves_open_ones_alone(study: Study) -> None:
    replicate = study.next()
    assert replicate is not None

    queue = TrialQueue(study.record, SPACE, study.plan, (), lambda: False)
    task = queue.next_task()

    assert task is not None
    assert task.number != replicate.number
    assert study.record.trial(task.number).searched
    assert queue.next_task() is None  # four trials: three had ended


def test_the_sampler_sees_the_first_runs_only(study: Study) -> None:
    def proposed() -> Params:
        return propose(study.record.study, SPACE, sampler="tpe", seed=0, number=20, tried=set())

    for place in range(12):
        study.search(30.0 + place, 2.0 + place, learning_rate=0.01 + place / 100, terms="ce")
    before = proposed()
    for run in (1, 2, 3):
        number = study.record.add_replicate(0, run)
        study.finish(number, 99.0)

    assert proposed() == before


@pytest.fixture
def fusing(tmp_path: Path) -> Study:
    """A search that found two far apart, without a teacher, whose runs one worker has to train."""
    made = Study(tmp_path, SPACE, ("--replicates", "4"), fused_by=1)
    made.search(60.0, 1.0, width=16, terms="ce")
    made.search(90.0, 5.0, width=64, terms="ce")
    return made


def test_runs_of_one_student_are_handed_out_together(fusing: Study) -> None:
    first, second = fusing.queue.next_task(), fusing.queue.next_task()

    assert first is not None
    assert second is not None
    for task, of in ((first, 0), (second, 1)):
        partners = [fusing.record.trial(number) for number, _ in task.partners]
        assert task.run == 1
        assert [(trial.replicate_of, trial.run) for trial in partners] == [(of, 2), (of, 3)]
        assert [run for _, run in task.partners] == [2, 3]
    assert fusing.queue.next_task() is None  # the partners wait
    assert fusing.queue.may_grow
    assert fusing.queue.expected == 6

    fusing.finish(first.number, 60.0)
    for number, run in first.partners:
        task = fusing.queue.next_task()
        assert task is not None
        assert (task.number, task.run, task.partners) == (number, run, ())
        fusing.finish(number, 60.0)
    assert fusing.queue.next_task() is None


def test_a_control_is_handed_out_with_its_runs(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "3"), fused_by=1)
    study.search(90.0, 1.0)

    control = study.queue.next_task()
    assert control is not None
    assert control.run == 0
    partners = [study.record.trial(number) for number, _ in control.partners]
    assert [(trial.replicate_of, trial.run) for trial in partners] == [
        (control.number, 1),
        (control.number, 2),
    ]
    assert SPACE.is_control(partners[0].params)


@pytest.mark.parametrize("how", ["its worker died", "they are trained one by one"])
def test_partners_are_let_go_when_they_are_not_trained_with_it(fusing: Study, how: str) -> None:
    task = fusing.queue.next_task()
    assert task is not None
    if how == "its worker died":
        fusing.queue.again(task.number)
        expected = [task.number, *(number for number, _ in task.partners)]
    else:
        fusing.queue.trains_together(task.number, 1)
        expected = [number for number, _ in task.partners]

    handed = [fusing.queue.next_task() for _ in expected]
    assert [one and one.number for one in handed] == expected
    assert all(one is not None and not one.partners for one in handed)


def test_partners_wait_while_they_are_trained_with_it(fusing: Study) -> None:
    first, _ = fusing.queue.next_task(), fusing.queue.next_task()
    assert first is not None
    fusing.queue.trains_together(first.number, 3)

    assert fusing.queue.next_task() is None


@pytest.mark.parametrize(("workers", "sizes"), [(1, [3, 3]), (3, [2, 2, 1, 1]), (6, [1] * 6)])
def test_no_worker_stands_idle_for_the_sake_of_groups(
    tmp_path: Path, workers: int, sizes: list[int]
) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "4"), fused_by=workers)
    study.search(60.0, 1.0, width=16, terms="ce")
    study.search(90.0, 5.0, width=64, terms="ce")

    found = []
    while (task := study.queue.next_task()) is not None:
        found.append(1 + len(task.partners))
    assert sorted(found, reverse=True) == sizes


def test_the_runs_of_a_control_that_fails_are_nobodys_any_more(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, ("--replicates", "3"), fused_by=1)
    study.search(90.0, 1.0)
    control = study.queue.next_task()
    assert control is not None
    assert len(control.partners) == 2

    study.finish(control.number, 0.0, "failed")
    assert study.unwanted == [number for number, _ in control.partners]
    member = study.queue.next_task()
    assert member is not None
    assert member.number not in study.unwanted


def test_partners_of_a_finished_run_are_known_to_be_trained_until_their_turn_has_come(
    fusing: Study,
) -> None:
    first = fusing.queue.next_task()
    assert first is not None
    fusing.record.use(first.number, Usage(runs=3))
    assert not fusing.queue.trained
    fusing.finish(first.number, 60.0)
    numbers = [number for number, _ in first.partners]
    assert fusing.queue.trained == set(numbers)

    fusing = fusing.again()  # another driver goes on
    for left, number in zip((numbers[1:], []), numbers, strict=True):
        assert fusing.queue.trained == {number, *left}
        assert fusing.next()
        fusing.finish(number, 60.0)
        assert fusing.queue.trained == set(left)


def test_partners_that_were_not_trained_with_a_run_are_not_taken_to_be(fusing: Study) -> None:
    first = fusing.queue.next_task()
    assert first is not None
    fusing.queue.trains_together(first.number, 1)
    fusing.finish(first.number, 60.0)

    assert not fusing.queue.trained


def test_another_driver_hands_out_what_was_left_one_by_one(fusing: Study) -> None:
    left = fusing.queue.next_task()
    assert left is not None
    numbers = [left.number, *(number for number, _ in left.partners)]

    again = fusing.again()
    handed = [again.queue.next_task() for _ in numbers]
    assert [one and one.number for one in handed] == numbers
