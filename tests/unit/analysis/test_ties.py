import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.front import dominates, front_members, non_dominated, tied, told_apart
from analysis.latency import NOTHING_TIED, Latency, TieTest, TieTests

ALIKE = TieTests((TieTest("[1,0,0,0]", (1.0, 1.0), 0.02),))
SPREADS = st.sampled_from([0.0, 0.01, 0.05, 0.3])
POINTS = st.lists(
    st.tuples(
        st.integers(0, 6).map(float),
        st.integers(100, 130).map(lambda n: n / 100),
        st.integers(0, 3).map(float),
    ),
    max_size=25,
)
POINTS_OF_TWO = st.lists(
    st.tuples(st.integers(0, 20).map(float), st.integers(100, 130).map(lambda n: n / 100)),
    max_size=25,
)


def front_of(points):
    return [point for point, kept in zip(points, non_dominated(points), strict=True) if kept]


def spreads_of(points, odd, even):
    """One for each point; by its latency, in hundredths."""
    return [odd if round(100 * point[1]) % 2 else even for point in points]


def could_give_way(point, other, odd, even):
    """Whether all that tells `point` from a better `other` is a latency that is tied."""
    spread = max(spreads_of([point, other], odd, even))
    no_worse = other[0] >= point[0] and other[2:] <= point[2:]
    better = other[0] > point[0] or other[2:] < point[2:]
    return no_worse and better and other[1] <= point[1] * (1 + spread)


def test_of_two_students_tied_in_latency_the_better_score_stays():
    points = [(70.0, 1.00), (80.0, 1.02), (90.0, 1.50)]
    assert told_apart(points, [0.03] * 3) == [1, None, None]
    assert told_apart(points, [0.01] * 3) == [None, None, None]


def test_ties_are_taken_against_those_that_stay_and_do_not_carry_over():
    # Each is tied with the next; the first and the last are not.
    points = [(60.0, 1.00), (70.0, 1.02), (80.0, 1.04), (90.0, 1.06)]
    assert told_apart(points, [0.025] * 4) == [1, None, 3, None]


def test_a_student_that_is_smaller_does_not_give_way_on_a_front_of_three():
    points = [(70.0, 1.00, 1.0), (80.0, 1.02, 2.0), (75.0, 1.01, 3.0)]
    assert told_apart(points, [0.03] * 3) == [None, None, 1]
    # Of equal scores the smaller one stays, though it is no faster.
    assert told_apart([(80.0, 1.00, 5.0), (80.0, 1.01, 3.0)], [0.03] * 2) == [1, None]


def test_points_equal_in_everything_all_stay():
    assert told_apart([(80.0, 1.0), (80.0, 1.0)], [0.1] * 2) == [None, None]


def test_of_two_latencies_the_less_certain_one_says_whether_they_are_tied():
    points = [(70.0, 1.00), (80.0, 1.02), (90.0, 1.04)]
    assert told_apart(points, [0.03, 0.0, 0.0]) == [1, None, None]
    assert told_apart(points, [0.0, 0.03, 0.0]) == [None, 2, None]
    assert told_apart(points, [0.0, 0.0, 0.05]) == [2, 2, None]


@given(st.one_of(POINTS, POINTS_OF_TWO), SPREADS, SPREADS)
def test_who_gives_way_is_tied_with_one_that_stays_and_nobody_else_could(points, odd, even):
    front = front_of(points)
    gives_way = told_apart(front, spreads_of(front, odd, even))
    stay = [point for point, other in zip(front, gives_way, strict=True) if other is None]
    for point, other in zip(front, gives_way, strict=True):
        if other is not None:
            assert gives_way[other] is None
            assert could_give_way(point, front[other], odd, even)
    assert not any(could_give_way(one, other, odd, even) for one in stay for other in stay)
    if odd == even == 0:
        assert stay == front
    # The best score is on the front, whatever is tied.
    if front:
        assert max(front)[0] == max(stay)[0]
    assert all(not dominates(one, other) for one in stay for other in stay)


@given(POINTS, SPREADS, SPREADS, st.randoms(use_true_random=False))
def test_who_stays_does_not_depend_on_the_order_of_the_points(points, odd, even, random):
    front = front_of(points)
    shuffled = random.sample(front, len(front))

    def stay(given):
        chosen = told_apart(given, spreads_of(given, odd, even))
        return sorted(p for p, other in zip(given, chosen, strict=True) if other is None)

    assert stay(front) == stay(shuffled)


def test_a_front_without_ties_is_the_front_and_a_tie_names_who_stayed(sample, study):
    small, large = sample.params((1, 0, 0, 0)), sample.params((2, 2, 2, 2))
    results = study(
        [
            sample.trial(small, accuracy=70.0, ratio=4.04),
            sample.trial(large, accuracy=80.0, ratio=4.0),
        ]
    )
    assert [trial.number for trial in front_members(results.trials)] == [0, 1]
    assert [trial.number for trial in front_members(results.trials, tests=ALIKE)] == [1]
    gave_way = tied(results.trials, None, ALIKE)
    assert {number: other.number for number, other in gave_way.items()} == {0: 1}
    assert tied(results.trials, None, NOTHING_TIED) == {}


def by_pace(sample, pace):
    return Latency.from_json({**sample.latency(4.0), "paced_by": pace})


def test_the_spread_of_a_record_without_an_a_a_test_is_0(sample):
    assert NOTHING_TIED.spread_of(by_pace(sample, "metronome")) == 0.0
    assert NOTHING_TIED.widest is NOTHING_TIED.steadier is None


def test_a_record_of_earlier_has_one_test_of_all_students(sample):
    test = TieTest("[1,1,1,1]", (0.99, 1.01), 0.05)
    stored = {"architecture": "[1,1,1,1]", "ratios": [0.99, 1.01], "spread": 0.05}
    tests = TieTests.from_json(stored)
    assert tests == TieTests((test,))
    for latency in (None, by_pace(sample, "teacher"), by_pace(sample, "metronome")):
        assert tests.spread_of(latency) == 0.05


@pytest.mark.parametrize(
    ("spreads", "by_metronome", "by_teacher"),
    [((0.02, 0.2), 0.02, 0.2), ((0.2, 0.02), 0.2, 0.2), ((0.1, 0.1), 0.1, 0.1)],
)
def test_a_latency_is_as_certain_as_its_pace_and_the_teachers_is_never_the_steadier_one(
    spreads, by_metronome, by_teacher, sample
):
    paces = ("metronome", "teacher")
    tests = TieTests(
        tuple(TieTest("[1]", (1.0, 1.0), *how) for how in zip(spreads, paces, strict=True))
    )
    assert TieTests.from_json(tests.to_json()) == tests
    assert tests.spread_of(by_pace(sample, "metronome")) == by_metronome
    assert tests.spread_of(by_pace(sample, "teacher")) == by_teacher
    assert tests.spread_of(None) == by_teacher
    alone = TieTests(tests.tests[1:])
    assert alone.spread_of(by_pace(sample, "metronome")) == spreads[1]


def test_a_study_with_an_a_a_test_shows_its_front_without_ties(sample, study):
    trials = [
        sample.trial(sample.params((1, 0, 0, 0)), accuracy=70.0, ratio=4.04),
        sample.trial(sample.params((2, 2, 2, 2)), accuracy=80.0, ratio=4.0),
    ]
    results = study(trials, tie_test=TieTest("[2,2,2,2]", (1.0, 1.0), 0.02).to_json())
    assert [trial.number for trial in results.front] == [1]
    assert results.tied.keys() == {0}
    assert results.tie_tests.widest.spread == pytest.approx(0.02)


def test_a_small_student_is_not_tied_by_what_large_ones_are(sample, study):
    """A test of large ones would leave one of the two fastest; the third is tied with one."""
    trials = [
        sample.trial(sample.params(blocks), accuracy=accuracy, ratio=ratio)
        for blocks, accuracy, ratio in (
            ((1, 0, 0, 0), 70.0, 4.2),
            ((1, 1, 0, 0), 75.0, 4.0),
            ((1, 1, 1, 0), 80.0, 3.0),
            ((2, 2, 2, 2), 85.0, 2.9),
        )
    ]
    for trial in trials[:3]:
        trial["attributes"]["latency"]["paced_by"] = "metronome"
    small = TieTest("[1,0,0,0]", (1.0, 1.0), 0.02, "metronome")
    large = TieTest("[2,2,2,2]", (1.0, 1.0), 0.08, "teacher")
    results = study(trials, tie_test=TieTests((small, large)).to_json())
    assert [trial.number for trial in results.front] == [0, 1, 3]
    assert {number: stays.number for number, stays in results.tied.items()} == {2: 3}
