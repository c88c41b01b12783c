"""What to begin, and who goes on, in made-up studies whose ends are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.rungs import first_wait, rung_epochs
from study.search.architecture import ArchitectureFigure
from study.search.coding import Coding, Dimension
from study.search.latency_first import (
    FIRST,
    FIRST_OF_A_WORKER,
    LatencyFirst,
    first_of,
)
from study.search.scale import Corner
from study.search.training import Limits, Training

EPOCHS, FIRST_RUNG = 27, 3
WIDTH = Dimension("width", IntDistribution(1, 64, log=True))
RATE = Dimension("rate", FloatDistribution(0.0, 1.0))
METHOD = Dimension("method", CategoricalDistribution(["none", "taught"]))
CODING = Coding((WIDTH, RATE, METHOD))
CORNER = Corner(0.0, 65.0, 100.0)


def latency(params: Mapping[str, Any]) -> float:
    return float(params["width"])


def end(params: Mapping[str, Any]) -> float:
    """Wider is better, a rate of 0.3 is best, and teaching helps."""
    best = 80.0 + 3.0 * np.log2(params["width"]) - (0.0 if params["method"] == "taught" else 4.0)
    return float(best - 60.0 * (params["rate"] - 0.3) ** 2)


def curve(params: Mapping[str, Any], epochs: int) -> tuple[float, ...]:
    return tuple(end(params) * (1 - 0.6 * 0.8**epoch) for epoch in range(1, epochs + 1))


def make_search(**settings: Any) -> LatencyFirst:
    shown = {"first_rung": FIRST_RUNG, "seed": 0, "latency_of": latency, "shaping": ("width",)}
    return LatencyFirst(CODING, CORNER, **{**shown, **settings})


def training(number: int, params: Mapping[str, Any], epochs: int = FIRST_RUNG) -> Training:
    waits = 0 < epochs < EPOCHS
    return Training(number, params, curve(params, epochs), EPOCHS, latency(params), waits=waits)


def random_trainings(count: int, epochs: int = FIRST_RUNG) -> list[Training]:
    rng = np.random.default_rng(0)
    genes = rng.random((count, 3))
    return [training(n, CODING.params_of(row), epochs) for n, row in enumerate(genes)]


def never(params: Mapping[str, Any]) -> bool:
    return False


def run_study(search: LatencyFirst, epochs: int) -> list[Training]:
    """Spend some epochs as a driver of one worker would."""
    trainings: list[Training] = []
    rungs = (*rung_epochs(EPOCHS, FIRST_RUNG), EPOCHS)
    while epochs > 0:
        number = search.next_to_go_on(trainings)
        if number is None:
            params = search.begin(trainings, never)
            assert params is not None
            number = len(trainings)
            trainings.append(Training(number, params, (), EPOCHS, latency(params)))
        done = len(trainings[number].scores)
        to = next(rung for rung in rungs if rung > done)
        epochs -= to - done
        trainings[number] = training(number, trainings[number].params, to)
    return trainings


def test_rungs_lie_before_the_last_epoch() -> None:
    assert [first_wait(epochs) for epochs in (1, 9, 30, 52)] == [1, 1, 2, 4]
    assert rung_epochs(27, 3) == (3, 9)
    assert rung_epochs(52, 3) == (3, 9, 27)
    assert rung_epochs(1, 1) == ()
    assert rung_epochs(5, 0) == (1, 3)


def test_a_study_finds_what_is_best_for_far_fewer_epochs_than_at_random() -> None:
    trainings = run_study(make_search(), 20 * EPOCHS)

    whole = [t for t in trainings if t.is_whole]
    assert len(whole) >= 5
    close = [
        t for t in whole if t.params["method"] == "taught" and abs(t.params["rate"] - 0.3) < 0.1
    ]
    assert len(close) >= 0.7 * len(whole)
    widths = {t.params["width"] for t in close}
    assert min(widths) <= 3
    assert max(widths) >= 20


def test_the_share_of_epochs_is_kept() -> None:
    for share in (0.4, 0.8):
        trainings = run_study(make_search(going_on=share), 20 * EPOCHS)
        done = [len(t.scores) for t in trainings]
        going_on = 1 - sum(min(epochs, FIRST_RUNG) for epochs in done) / sum(done)
        assert going_on == pytest.approx(share, abs=0.06)


def test_the_same_study_is_decided_alike_by_a_driver_that_takes_over() -> None:
    first = make_search()
    trainings = run_study(first, 6 * EPOCHS)
    second = make_search()
    second.load_state(first.state())

    assert second.next_to_go_on(trainings) == first.next_to_go_on(trainings)
    assert second.begin(trainings, never) == first.begin(trainings, never)


def test_so_it_is_where_latencies_are_guessed_from_those_measured() -> None:
    measured: dict[int, float] = {}

    def known(params: Mapping[str, Any]) -> float | None:
        return measured.get(params["width"])

    def remember(trainings: Sequence[Training]) -> None:
        measured.update({t.params["width"]: latency(t.params) for t in trainings})

    first = make_search(latency_of=known)
    trainings: list[Training] = []
    for number in range(40):
        params = first.begin(trainings, never)
        assert params is not None
        trainings.append(training(number, params))
        remember(trainings)
        if number == 30:
            early = first.state()
    second, without = make_search(latency_of=known), make_search(latency_of=known)
    second.load_state(first.state())
    begun = first.begin(trainings, never)

    assert early["latency"]["fitted_at"] > 0
    assert second.begin(trainings, never) == begun
    # Fitted anew to all that was measured, its guesses would be others.
    without.load_state({**first.state(), "latency": {}})
    without.begin(trainings, never)
    assert without.state()["latency"] != first.state()["latency"]


def test_the_first_trials_are_drawn_by_the_seed() -> None:
    one, same, other = make_search(), make_search(), make_search(seed=1)

    assert one.begin([], never) == same.begin([], never) != other.begin([], never)
    assert one.next_to_go_on(random_trainings(FIRST - 1)) is None


def test_of_few_trials_few_are_drawn_at_random() -> None:
    assert [first_of(trials) for trials in (1, 10, 16, 24, 40, 1000)] == [4, 4, 6, 9, 16, 16]

    few = make_search(first=first_of(16))
    assert few.next_to_go_on(random_trainings(5)) is None
    assert few.next_to_go_on(random_trainings(6)) is not None


def test_more_begin_before_anyone_goes_on_where_more_train_at_once() -> None:
    enough = 8 * FIRST_OF_A_WORKER
    search = make_search()

    # Workers that are free at once would go on with half of the first draws.
    assert search.next_to_go_on(random_trainings(enough - 1), workers=8) is None
    assert search.next_to_go_on(random_trainings(enough), workers=8) is not None
    assert search.next_to_go_on(random_trainings(FIRST), workers=2) is not None
    assert search.next_to_go_on(random_trainings(FIRST - 1), workers=2) is None


def of_several_exits(networks: int, epochs: int) -> list[Training]:
    trainings = random_trainings(5 * networks, epochs)
    return [replace(each, counts=each.number % 5 == 0) for each in trainings]


def test_so_many_networks_are_drawn_however_many_exits_each_has() -> None:
    def otherwise(trainings: list[Training]) -> list[Training]:
        """The same, where all that was learnt from them would be something else."""
        return [replace(each, scores=each.scores[::-1]) for each in trainings]

    def begun(trainings: list[Training]) -> Any:
        return make_search().begin(trainings, never)

    few, many = of_several_exits(FIRST - 1, FIRST_RUNG), of_several_exits(FIRST, FIRST_RUNG)
    assert begun(few) == begun(otherwise(few))
    assert begun(many) != begun(otherwise(many))
    few, many = of_several_exits(7, EPOCHS), of_several_exits(8, EPOCHS)
    assert begun(few) == begun(otherwise(few))
    assert begun(many) != begun(otherwise(many))


def test_nor_does_anyone_go_on_before_so_many_networks_are_begun() -> None:
    assert make_search().next_to_go_on(of_several_exits(FIRST - 1, 2 * FIRST_RUNG)) is None


def test_who_promises_most_goes_on() -> None:
    good = {"width": 8, "rate": 0.3, "method": "taught"}
    trainings = [*random_trainings(20, EPOCHS), training(20, {**good, "rate": 0.95})]
    trainings.append(training(21, good))

    assert make_search().most_promising(trainings) == 21


def test_who_cannot_add_to_the_front_does_not_go_on() -> None:
    whole = random_trainings(25, EPOCHS)
    best = {"width": 4, "rate": 0.3, "method": "taught"}
    whole.append(training(25, best, EPOCHS))
    hopeless = training(26, {"width": 60, "rate": 0.99, "method": "none"})
    search = make_search()

    assert search.most_promising([*whole, hopeless], worth=1e-3) is None
    assert search.most_promising([*whole, hopeless]) == 26


def test_without_a_front_somebody_goes_on_whatever_it_promises() -> None:
    trainings = random_trainings(4)

    assert make_search().most_promising(trainings, worth=0.99) in range(4)


def test_what_runs_is_neither_waiting_nor_begun_again() -> None:
    trainings = random_trainings(12)
    best = make_search().most_promising(trainings)
    assert best is not None
    trainings[best] = replace(trainings[best], waits=False, runs=True)

    assert make_search().most_promising(trainings) not in (None, best)


def test_nothing_refused_is_proposed() -> None:
    def taught(params: Mapping[str, Any]) -> bool:
        return params["method"] == "taught"

    for trainings in ([], random_trainings(15)):
        params = make_search().begin(trainings, taught)
        assert params is not None
        assert params["method"] == "none"
    assert make_search().begin(random_trainings(15), lambda params: True) is None


def test_a_small_space_is_looked_through_whole() -> None:
    everything = [
        {"width": w, "rate": 0.3, "method": m} for w in (2, 8, 32) for m in ("none", "taught")
    ]
    tried = everything[:-1]

    def was_tried(params: Mapping[str, Any]) -> bool:
        return params in tried

    for trainings in ([], random_trainings(15)):
        assert make_search().begin(trainings, was_tried, everything) == everything[-1]
    assert make_search().begin([], lambda params: True, everything) is None


def test_latencies_that_were_not_measured_are_told_from_others() -> None:
    known = {1, 2, 4, 8, 16, 32, 64}

    def partly(params: Mapping[str, Any]) -> float | None:
        return latency(params) if params["width"] in known else None

    figure = ArchitectureFigure(CODING, [0], partly)
    measured = [({"width": w, "rate": 0.5, "method": "none"}, float(w)) for w in sorted(known)]
    figure.learn(len(measured), lambda: measured)

    guessed = figure.of(
        CODING.genes_of([{"width": w, "rate": 0.1, "method": "taught"} for w in (3, 6, 8, 45)])
    )

    assert guessed == pytest.approx([3, 6, 8, 45], rel=0.15)
    assert guessed[2] == 8.0


def infeasible_begun(limits: Limits, trials: int) -> int:
    """Of so many begun, how many break a limit, where nothing is known before it is measured."""
    measured: dict[int, float] = {}

    def known(params: Mapping[str, Any]) -> float | None:
        return measured.get(params["width"])

    search = make_search(latency_of=known, size_of=known, limits=limits)
    trainings: list[Training] = []
    allowed = min(limits.slowest_ms, limits.largest)
    for number in range(trials):
        params = search.begin(trainings, lambda params: measured.get(params["width"], 0) > allowed)
        assert params is not None
        measured[params["width"]] = size = latency(params)
        if size > allowed:
            trainings.append(Training(number, params, (), EPOCHS, size, size=size))
        else:
            trainings.append(replace(training(number, params), size=size))
    return sum(not each.scores for each in trainings)


@pytest.mark.parametrize("limits", [Limits(slowest_ms=4.0), Limits(largest=4.0)])
def test_what_is_expected_to_break_a_limit_is_begun_last(limits: Limits) -> None:
    # Two in three random draws are wider than that.
    assert infeasible_begun(limits, 24) <= 4


def test_a_small_space_is_gone_through_from_within_the_limits() -> None:
    everything = [{"width": w, "rate": 0.3, "method": "taught"} for w in range(1, 33)]
    wide = [training(n, {**everything[0], "width": w}) for n, w in enumerate((2, 8, 32))]
    known = [replace(each, size=each.latency_ms, scores=()) for each in wide]
    search = make_search(limits=Limits(largest=4.0), size_of=lambda params: None)

    begun = search.begin(known, lambda params: params["width"] == 2, everything)

    assert begun is not None
    assert begun["width"] <= 5


def test_scores_without_a_bound_are_learnt_from_as_they_are() -> None:
    search = LatencyFirst(
        CODING,
        Corner(0.0, 65.0),
        first_rung=FIRST_RUNG,
        seed=0,
        latency_of=latency,
        shaping=("width",),
    )

    trainings = run_study(search, 10 * EPOCHS)

    assert any(t.is_whole and abs(t.params["rate"] - 0.3) < 0.15 for t in trainings)


def test_a_study_may_have_no_finite_latency_yet() -> None:
    trainings = [replace(t, latency_ms=None) for t in random_trainings(FIRST)]

    params = make_search().begin(trainings, never)

    assert params is not None
