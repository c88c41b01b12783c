"""What stays on the disk: checkpoints of what runs, students that are still needed."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.front import front_hypervolume, front_members
from analysis.replication import front_probabilities, rivals
from analysis.results import (
    Confirmation,
    Latency,
    ModelSize,
    Outcome,
    OutcomeStatus,
    Ratio,
    ReferencePoint,
    Timing,
    TrialResult,
)
from study.confirmation import _waiting
from study.retention import (
    SPARE_AHEAD,
    Contenders,
    near_front,
    prune,
    spare_ahead,
    students_at_the_end,
    students_to_keep,
)


def made(
    number: int,
    accuracy: float,
    latency_ms: float,
    status: OutcomeStatus = "complete",
    label: str | None = None,
) -> TrialResult:
    """A trial that has ended; trials of one latency are of one or two architectures."""
    outcome = Outcome(status, None, 1, accuracy, latency_ms, 1.0, "2026-01-01T00:00:00+00:00")
    architecture = f"a{latency_ms}{accuracy > 8 and number % 2}"
    return TrialResult(number, "sampler", label, {}, architecture, 1, outcome=outcome)


FIGURES = st.tuples(
    st.integers(0, 20).map(float),
    st.sampled_from([1.0, 1.2, 1.3, 1.31, 1.5, 1.69, 2.0, 2.6, 3.0]),
    st.sampled_from(["complete", "complete", "complete", "stopped", "failed"]),
    st.sampled_from([None, None, None, None, None, None, "a published row"]),
)


@given(st.lists(FIGURES, max_size=30), st.integers(0, 30))
def test_contenders_are_those_that_all_trials_together_leave(
    figures: list[tuple[float, float, OutcomeStatus, str | None]], first: int
) -> None:
    trials = [made(number, *some) for number, some in enumerate(figures)]
    contenders = Contenders(trials[:first])
    for number in range(min(first, len(trials)), len(trials)):
        contenders.add(trials[number])
        assert contenders.numbers == students_to_keep(trials[: number + 1])
    reference = ReferencePoint(5.0, 2.5, 100.0)
    covered = front_hypervolume(trials, reference)
    assert front_hypervolume(contenders.trials, reference) == pytest.approx(covered)


@given(st.lists(FIGURES, max_size=30), st.integers(0, 30))
def test_contenders_of_three_objectives_hold_the_front_and_are_found_one_by_one(
    figures: list[tuple[float, float, OutcomeStatus, str | None]], first: int
) -> None:
    trials = [sized(made(number, *some)) for number, some in enumerate(figures)]
    contenders = Contenders(trials[:first], "params_m")
    for number in range(min(first, len(trials)), len(trials)):
        contenders.add(trials[number])
        assert contenders.numbers == students_to_keep(trials[: number + 1], "params_m")
    front = {trial.number for trial in front_members(trials, "params_m")}
    assert contenders.numbers >= front
    assert students_to_keep(trials, "params_m") >= front


@given(st.lists(FIGURES, max_size=20))
def test_near_a_front_of_three_is_whom_nobody_beats_while_clearly_faster_and_no_larger(
    figures: list[tuple[float, float, OutcomeStatus, str | None]],
) -> None:
    trials = [sized(made(number, *some)) for number, some in enumerate(figures)]
    complete = [trial for trial in trials if trial.status == "complete"]

    def beats(one: TrialResult, other: TrialResult) -> bool:
        if one.architecture == other.architecture:
            return figure(one.val_score) > figure(other.val_score)
        return (
            figure(one.latency_ms) * 1.3 < figure(other.latency_ms)
            and figure(one.val_score) >= figure(other.val_score)
            and size(one) <= size(other)
        )

    expected = {t.number for t in complete if not any(beats(other, t) for other in complete)}

    assert {trial.number for trial in near_front(trials, 1.3, "params_m")} == expected


def figure(value: float | None) -> float:
    assert value is not None
    return value


def size(trial: TrialResult) -> float:
    assert trial.model is not None
    return trial.model.params_m


def sized(trial: TrialResult) -> TrialResult:
    """The trial with a student whose size follows from its architecture, as it does."""
    params_m = float(zlib.crc32(trial.architecture.encode()) % 4)
    return replace(trial, model=ModelSize(params_m, 1.0, 1))


def test_near_the_front_is_who_nothing_beats_while_being_clearly_faster() -> None:
    fast, near, far = made(0, 90, 1.0), made(2, 85, 1.1), made(4, 85, 1.2)

    assert near_front([fast, near, far], 1.15) == [fast, near]


def again(number: int, accuracy: float, first: TrialResult) -> TrialResult:
    """A further run of a trial."""
    run = made(number, accuracy, figure(first.latency_ms))
    return replace(run, source="replicate", replicate_of=first.number, run=1)


def test_near_the_front_is_told_by_the_means_that_the_front_is_told_by() -> None:
    lucky, good, near = made(0, 72, 4.5), made(2, 71, 5.2), made(4, 71, 9.4)
    alone = [lucky, good, near]
    trials = [*alone, again(5, 68, lucky), again(6, 69, good)]

    assert near_front(alone, 1.15) == [lucky]
    assert near_front(trials, 1.15) == [lucky, near]
    assert 4 not in students_to_keep(alone)
    assert 4 in students_to_keep(trials)


def test_who_is_near_the_front_by_means_waits_to_be_timed() -> None:
    lucky, good, near = made(0, 72, 4.5), made(2, 70.9, 5.2), made(4, 71, 5.4)
    trials = [lucky, good, near, again(5, 68, lucky), again(6, 72.1, good)]

    # Its first run puts one 1.2 times as fast ahead of it, the mean does not.
    assert near in _waiting(trials, None)


def test_only_what_is_needed_stays_on_the_disk(tmp_path: Path) -> None:
    running = TrialResult(3, "sampler", None, {}, "a", 9)
    trials = [
        made(0, 90, 1.0),
        made(1, 50, 9.0),
        made(2, 95, 2.0, "stopped"),
        running,
        made(4, 40, 9.0, label="a published row"),
    ]
    for name in ("t0000", "t0001", "t0002", "t0003", "t0004", "t0099", "t0002.partial"):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        for file in ("last.pt", "last.pt.previous", "student.pt", "last.pt.partial"):
            (folder / file).write_text("weights")

    prune(tmp_path, trials, students_to_keep(trials))

    left = sorted(str(p.relative_to(tmp_path / "checkpoints")) for p in tmp_path.rglob("*.pt*"))
    assert [name for name in left if not name.startswith("t0003/")] == [
        "t0000/student.pt",
        "t0004/student.pt",
    ]
    assert len([name for name in left if name.startswith("t0003/")]) == 4


def confirmed(trial: TrialResult) -> Confirmation:
    """Scored on the test split, with the latency that it was searched by."""
    timing, ratio = Timing(figure(trial.latency_ms), 9.0), Ratio(2.0, 1.9, 2.1)
    timings = (timing, timing, timing, timing)
    return Confirmation(50.0, Latency("cpu", 1, "float32", True, 9, *timings, ratio, ratio))


def test_runs_keep_their_students_until_they_are_scored() -> None:
    first, best = made(0, 10.0, 2.0), made(1, 20.0, 1.0)
    again = replace(made(2, 9.0, 2.0), source="replicate", replicate_of=0, run=1)
    trials = [first, best, again]

    assert students_to_keep(trials) == {0, 1, 2}
    contenders = Contenders(trials)
    assert contenders.numbers == {0, 1, 2}

    scored = [replace(trial, confirmed=confirmed(trial)) for trial in trials]
    # More runs may be asked for later: then the first one may come to the front by its mean.
    assert students_at_the_end(scored) == students_to_keep(scored) == {0, 1}
    assert (spare_ahead(scored, 1), spare_ahead([best], 1)) == (SPARE_AHEAD, 0)
    # What is not kept is still counted where means are.
    assert Contenders(scored).trials == scored


def test_a_confirmed_student_stays_while_whoever_seems_ahead_of_it_is_to_be_timed() -> None:
    old, new = made(0, 70.0, 5.2), made(2, 71.0, 4.8)
    old = replace(old, confirmed=confirmed(old))
    contenders = Contenders([old])
    contenders.add(new)

    assert students_to_keep([old, new]) == contenders.numbers == {0, 2}
    # Also where the front was left unconfirmed: the student of the new one cannot be read.
    assert students_at_the_end([old, new]) == {0, 2}

    slower = replace(new, idle_latency=confirmed(made(2, 71.0, 5.3)).latency)
    assert [trial.number for trial in front_members([old, slower])] == [0, 2]
    faster = replace(new, idle_latency=confirmed(new).latency)
    assert students_at_the_end([old, faster]) == {2}


def test_whoever_few_are_ahead_of_is_kept_while_means_may_move() -> None:
    trials = [made(number, 50.0 - number, 3.0**number) for number in range(4)]

    assert students_to_keep(trials) == {0}
    assert students_to_keep(trials, spare=2) == {0, 1, 2}
    contenders = Contenders([], spare=2)
    for trial in reversed(trials):
        contenders.add(trial)
    assert contenders.numbers == {0, 1, 2}


@pytest.mark.parametrize("seed", [0, 1, 7, 11])
def test_no_rival_has_lost_its_student_before_it_is_known_as_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    figures = zip(rng.normal(80.0, 1.0, 60), rng.uniform(1.0, 2.0, 60), strict=True)
    trials = [made(n, float(score), float(ms)) for n, (score, ms) in enumerate(figures)]
    kept = students_at_the_end(trials, spare=SPARE_AHEAD)

    members = front_members(trials)
    further = [
        replace(
            made(60 + n, (member.val_score or 0.0) + float(rng.normal(0.0, 1.5)), 1.0),
            source="replicate",
            replicate_of=member.number,
            run=1,
        )
        for n, member in enumerate(members)
    ]
    everyone = [*trials, *further]
    found = rivals(front_members(everyone), front_probabilities(everyone))

    assert found
    assert set(found) <= kept
    assert len(kept) < 60
    # Nor afterwards, when more runs may be asked for.
    ended = [replace(trial, confirmed=confirmed(trial)) for trial in everyone]
    front = front_members(ended)
    close = rivals(front, front_probabilities(ended))
    trained_again = {member.number for member in members}
    assert close
    assert students_at_the_end(ended) == {*close, *trained_again, *(t.number for t in front)}


@given(st.lists(FIGURES, max_size=30))
def test_contenders_that_few_are_ahead_of_are_found_one_by_one(
    figures: list[tuple[float, float, OutcomeStatus, str | None]],
) -> None:
    trials = [made(number, *some) for number, some in enumerate(figures)]
    contenders = Contenders([], spare=2)
    for number, trial in enumerate(trials):
        contenders.add(trial)
        assert contenders.numbers == students_to_keep(trials[: number + 1], spare=2)
