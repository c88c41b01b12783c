import math
import random
import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from study.rungs import default_grace, rung_epochs
from study.scheduler import ParetoHalving, ParetoHalvingScheduler, RungEntry, ranks


def enter(halving: ParetoHalving, epoch: int, *points: tuple[float, float]) -> None:
    for number, (score, latency) in enumerate(points):
        halving.enter(epoch, RungEntry(number, score, latency))


def test_rungs_grow_by_the_factor_and_end_before_the_last_epoch() -> None:
    assert rung_epochs(30, 1, 3) == (1, 3, 9, 27)
    assert rung_epochs(27, 1, 3) == (1, 3, 9)
    assert rung_epochs(1, 1, 3) == ()
    assert default_grace(8) == 1
    assert default_grace(52) == 6


def test_ranks_are_those_of_non_dominated_sorting() -> None:
    entries = [
        RungEntry(0, 90.0, 5.0),  # front
        RungEntry(1, 80.0, 1.0),  # front
        RungEntry(2, 80.0, 5.0),  # behind both
        RungEntry(3, 85.0, 6.0),  # behind 0
        RungEntry(4, 70.0, 7.0),  # behind 2 and 3 as well
    ]

    assert ranks(entries) == [0, 0, 1, 1, 2]


def ranks_by_comparing_every_pair(entries: list[RungEntry]) -> list[int]:
    """Non-dominated sorting as it is defined: peel off one front after another."""
    rank = [-1] * len(entries)
    remaining = set(range(len(entries)))
    for level in range(len(entries)):
        front = {
            i for i in remaining if not any(entries[j].dominates(entries[i]) for j in remaining)
        }
        for i in front:
            rank[i] = level
        remaining -= front
    return rank


# Few different values, so that ties in one objective and in both are common.
SCORE, LATENCY = st.integers(0, 5).map(float), st.integers(1, 5).map(float)
FEW = st.tuples(SCORE, LATENCY)
ANY = st.tuples(st.floats(0, 100), st.floats(0, 1e4))


@given(st.lists(FEW, max_size=30) | st.lists(ANY, max_size=30))
def test_ranks_agree_with_comparing_every_pair(points: list[tuple[float, float]]) -> None:
    entries = [RungEntry(i, *point) for i, point in enumerate(points)]

    assert ranks(entries) == ranks_by_comparing_every_pair(entries)


@given(st.lists(FEW, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_in_which_trials_came(
    points: list[tuple[float, float]], draw: random.Random
) -> None:
    entries = [RungEntry(i, *point) for i, point in enumerate(points)]
    shuffled = draw.sample(entries, len(entries))

    by_number = dict(zip((e.number for e in shuffled), ranks(shuffled), strict=True))

    assert [by_number[i] for i in range(len(entries))] == ranks(entries)


SMALL = st.integers(0, 4).map(float)


@given(st.lists(st.tuples(SCORE, LATENCY, SMALL), max_size=30))
def test_ranks_of_three_objectives_agree_with_comparing_every_pair(
    points: list[tuple[float, float, float]],
) -> None:
    entries = [RungEntry(i, *point) for i, point in enumerate(points)]

    assert ranks(entries) == ranks_by_comparing_every_pair(entries)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e4), st.floats(0, 1e3)), max_size=30))
def test_nobody_is_stopped_whom_nobody_beats_in_all_three(
    points: list[tuple[float, float, float]],
) -> None:
    entries = [RungEntry(i, *point) for i, point in enumerate(points)]
    halving = ParetoHalving(max_epochs=9)
    for entry in entries:
        halving.enter(1, entry)

    for entry in entries:
        stop = halving.judge(1, entry.number)
        beaten = any(other.dominates(entry) for other in entries)
        assert stop is None or beaten
        assert stop is None or stop.rivals


def test_a_small_student_goes_on_that_would_be_stopped_for_score_and_latency_alone() -> None:
    ahead = [(90.0 + i, 1.0) for i in range(8)]
    two, three = ParetoHalving(9), ParetoHalving(9)
    for number, point in enumerate([*ahead, (50.0, 2.0)]):
        two.enter(1, RungEntry(number, *point))
        three.enter(1, RungEntry(number, *point, third=1.0 if point in ahead else 0.5))

    assert two.judge(1, 8) is not None
    assert three.judge(1, 8) is None


def test_the_reason_of_a_stop_names_what_was_compared() -> None:
    halving = ParetoHalving(9, compared_by="weighted F1, latency and FLOPs")
    for number in range(3):
        halving.enter(1, RungEntry(number, 90.0 - number, 1.0 + number, third=1.0 + number))

    stop = halving.judge(1, 2)

    assert stop is not None
    assert stop.reason.startswith("behind t0000, t0001 in weighted F1, latency and FLOPs")


def test_a_rung_of_ten_thousand_trials_is_judged_within_a_second() -> None:
    draw = random.Random(0)
    halving = ParetoHalving(max_epochs=9)
    # One behind the other: as many fronts as there are trials, the worst case.
    enter(halving, 1, *[(1e4 - i, float(i)) for i in draw.sample(range(10_000), 10_000)])

    begun = time.process_time()
    going_on = [number for number in range(0, 10_000, 2_000) if halving.judge(1, number) is None]
    seconds = (time.process_time() - begun) / 5

    assert len(going_on) < 5
    assert seconds < 1


def test_a_dominated_trial_stops_and_the_stop_names_rung_and_rivals() -> None:
    halving = ParetoHalving(max_epochs=9)
    enter(halving, 1, (90.0, 2.0), (80.0, 1.0), (70.0, 3.0))

    stop = halving.judge(1, 2)

    assert stop is not None
    assert (stop.rung, stop.rivals, stop.reached) == (1, (0, 1), 3)
    assert "t0000, t0001" in stop.reason
    assert "epoch 1" in stop.reason


def test_a_small_student_is_not_stopped_for_being_less_accurate_than_larger_ones() -> None:
    halving = ParetoHalving(max_epochs=9)
    enter(halving, 1, (30.0, 0.1), *[(90.0 + i / 10, 2.0 + i) for i in range(20)])

    assert halving.judge(1, 0) is None


def test_a_lone_trial_and_ties_go_on() -> None:
    alone = ParetoHalving(max_epochs=9)
    enter(alone, 1, (10.0, 9.0))
    tied = ParetoHalving(max_epochs=9)
    enter(tied, 1, *[(50.0, 2.0)] * 9)

    assert alone.judge(1, 0) is None
    assert all(tied.judge(1, number) is None for number in range(9))


def test_fewer_trials_than_the_factor_say_nothing_yet() -> None:
    halving = ParetoHalving(max_epochs=9, factor=3)
    enter(halving, 1, (90.0, 1.0), (10.0, 9.0))

    assert halving.judge(1, 1) is None


def test_a_third_of_a_chain_survives() -> None:
    halving = ParetoHalving(max_epochs=9, factor=3)
    enter(halving, 1, *[(90.0 - i, 1.0 + i) for i in range(9)])

    going_on = [number for number in range(9) if halving.judge(1, number) is None]

    assert going_on == [0, 1, 2]


def test_a_score_that_is_not_a_number_never_reaches_a_rung() -> None:
    halving = ParetoHalving(max_epochs=9)
    enter(halving, 1, (math.nan, 1.0), (10.0, math.inf))

    assert halving.judge(1, 0) is None
    assert halving._reached == {}


def test_a_score_that_is_not_a_number_ends_the_trial_at_its_rung() -> None:
    halving = ParetoHalving(max_epochs=9)
    scheduler = ParetoHalvingScheduler(halving, lambda number, score: RungEntry(number, score, 1.0))

    def decided(number: int, *, protected: bool) -> str:
        config = {"number": number, "epochs_known": 0, "protected": protected}
        told = {"epoch": 1, "val_score": math.nan}
        return scheduler.on_trial_result(None, SimpleNamespace(config=config), told)

    assert decided(0, protected=True) == "CONTINUE"
    assert decided(1, protected=False) == "STOP"
    assert scheduler.stops[1].reason == "its score at epoch 1 is no finite number"
    assert list(scheduler.stops) == [1]
