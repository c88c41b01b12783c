"""What a search of bounded time leaves to further runs, against a real record."""

from pathlib import Path

import pytest
from replicated_study import Study

from analysis.results import Usage
from search_spaces.cifar_blocks import SPACE
from study.budget import Left
from study.replicate_queue import ReplicateQueue
from study.reserve import SEARCH_SHARE, Reserve

WHOLE = 60.0  # seconds for which a worker is held by a training
BOUNDED = ("--replicates", "3", "--budget", "1h", "--device-hours", "2", "--concurrent", "2")


def study_of(folder: Path, *arguments: str) -> Study:
    return Study(folder, SPACE, arguments or BOUNDED)


def reserve_of(study: Study) -> Reserve:
    return Reserve(study.record, study.plan, study.stored, workers=2)


def searched(study: Study, score: float, milliseconds: float, **params: object) -> None:
    study.search(score, milliseconds, seconds=WHOLE, **params)


def test_all_of_it_is_the_searchs_until_a_training_has_told_how_long_one_takes(
    tmp_path: Path,
) -> None:
    study = study_of(tmp_path)

    assert reserve_of(study).budget == study.plan.budget


def test_what_the_front_its_controls_and_as_many_rivals_would_take_is_held_back(
    tmp_path: Path,
) -> None:
    study = study_of(tmp_path)
    reserve = reserve_of(study)
    searched(study, 60.0, 1.0, width=16)

    # Two runs of the member, three of its control, two of a rival.
    def timing(members: int) -> float:
        return (members + 4) * study.plan.timing_seconds + 15.0

    assert reserve.budget.seconds == 3600 - 7 * WHOLE / 2 - timing(1)
    assert reserve.budget.device_hours == pytest.approx(2 - 7 * WHOLE / 3600)
    assert reserve.budget.trials == study.plan.budget.trials

    searched(study, 90.0, 5.0, width=64, terms="ce")
    # The other needs no control, and a rival more there may be.
    assert reserve.budget.seconds == 3600 - (7 + 4) * WHOLE / 2 - timing(2)
    searched(study, 20.0, 9.0, width=32)
    assert reserve.budget.seconds == 3600 - (7 + 4) * WHOLE / 2 - timing(2)


def test_the_search_has_half_of_the_time_at_least(tmp_path: Path) -> None:
    study = study_of(tmp_path, "--replicates", "9", "--budget", "10m")
    for place in range(5):
        searched(study, 60.0 + place, 1.0 + place, learning_rate=0.01 + place / 1000)

    assert reserve_of(study).budget.seconds == SEARCH_SHARE * 600
    assert reserve_of(study).budget.device_hours is None


def test_a_search_that_gave_way_stays_over_until_there_is_more_time(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    searched(study, 60.0, 1.0, width=16)
    reserve_of(study).give_way()
    study.run()

    for same in (BOUNDED, (*BOUNDED, "--trials", "40"), (*BOUNDED, "--budget", "50m")):
        again = reserve_of(study.again(*same)).budget
        assert again.seconds == again.device_hours == 0
    more = reserve_of(study.again(*BOUNDED, "--budget", "2h")).budget
    assert 7000 < (more.seconds or 0) < 7200


def test_a_search_that_was_done_with_its_trials_goes_on_with_more_of_them(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    searched(study, 60.0, 1.0, width=16)
    study.run()

    more = reserve_of(study.again(*BOUNDED, "--trials", "40")).budget
    assert (more.seconds or 0) > 3400


def test_a_run_that_would_not_come_to_its_end_is_not_begun(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    searched(study, 60.0, 1.0, width=16)
    left = [Left(each=WHOLE - 1), Left(in_all=WHOLE - 1), Left(each=WHOLE + 1)]
    late = []
    for time_left in left:
        queue = ReplicateQueue(
            study.record, SPACE, study.plan, study.stored, lambda: False, set(),
            time_left=lambda found=time_left: found,
        )  # fmt: skip
        late.append((queue.next_task() is None, queue.out_of_time))

    assert late == [(True, True), (True, True), (False, False)]


def test_those_that_are_out_have_their_part_of_what_all_may_take_together(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    searched(study, 60.0, 1.0, width=16, terms="ce")
    searched(study, 90.0, 5.0, width=64, terms="ce")
    queue = ReplicateQueue(
        study.record, SPACE, study.plan, study.stored, lambda: False, set(),
        time_left=lambda: Left(in_all=2.5 * WHOLE),
    )  # fmt: skip

    assert [queue.next_task() is None for _ in range(3)] == [False, False, True]
    assert queue.out_of_time


def test_runs_of_a_control_that_is_out_are_taken_to_be_as_long_as_those_of_its_student(
    tmp_path: Path,
) -> None:
    study = study_of(tmp_path, *BOUNDED)
    searched(study, 60.0, 1.0, width=16, terms="weighted")
    left = Left()
    queue = ReplicateQueue(
        study.record, SPACE, study.plan, study.stored, lambda: False, set(),
        time_left=lambda: left,
    )  # fmt: skip
    while (task := queue.next_task()) is not None:
        begun = study.record.trial(task.number)
        if begun.control_of is not None:
            left = Left(each=WHOLE - 1)

    assert begun.control_of is not None
    assert queue.out_of_time


def test_what_a_control_took_together_with_its_runs_is_that_of_all(tmp_path: Path) -> None:
    study = study_of(tmp_path, *BOUNDED)
    searched(study, 60.0, 1.0, width=16, terms="weighted")
    control = study.next()
    while control is not None and control.control_of is None:
        study.finish(control.number, 60.0)
        control = study.next()
    assert control is not None
    study.record.use(control.number, Usage(0, 2 * WHOLE, runs=2))
    study.finish(control.number, 50.0)
    queue = ReplicateQueue(
        study.record, SPACE, study.plan, study.stored, lambda: False, set(),
        time_left=lambda: Left(each=WHOLE + 1),
    )  # fmt: skip

    task = queue.next_task()
    assert task is not None
    assert study.record.trial(task.number).replicate_of == control.number
