"""The search in the words of a study: spaces, trials, rungs."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    OutcomeStatus,
    Ratio,
    ReferencePoint,
    Timing,
)
from search_spaces import cifar_hybrid, cifar_modern, cifar_self, mhist_mobilenet, mnist_subclass
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import Params, SearchSpace
from study.arguments import parser
from study.guide import Guide, coding_of
from study.proposal import distributions
from study.record import StudyRecord
from study.resolving import resolve

SPACES = (SPACE, cifar_hybrid.SPACE, cifar_modern.SPACE, mnist_subclass.SPACE)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_configuration_of_a_space_has_genes_and_comes_back(space: SearchSpace) -> None:
    coding = coding_of(space)

    for params in space.samples():
        (genes,) = coding.genes_of([params])
        assert space.complete(coding.params_of(genes)) == pytest.approx(params)


def test_what_is_held_is_no_dimension_and_what_depends_on_it_is_free() -> None:
    held = cifar_hybrid.SPACE.with_fixed({"method": "hybrid"})

    dimensions = {each.name: each for each in coding_of(held).dimensions}

    assert "method" not in dimensions
    assert dimensions["temperature"].parent is None
    assert dimensions["temperature_decay"].parent == "temperature_schedule"


def test_what_cannot_exist_is_no_dimension() -> None:
    without = cifar_hybrid.SPACE.with_fixed({"method": "none"})

    names = {each.name for each in coding_of(without).dimensions}

    assert names.isdisjoint({"temperature", "alpha_schedule", "taps"})


def test_a_choice_keeps_its_values() -> None:
    (method,) = (d for d in coding_of(cifar_modern.SPACE).dimensions if d.name == "method")

    assert isinstance(method.distribution, CategoricalDistribution)
    assert set(method.choices or ()) == set(cifar_modern.SPACE.drawn_values("method"))


def measured(ratio: float) -> Latency:
    timing, teacher = Timing(1.0, 1.0), Timing(100.0, 100.0)
    known = Ratio(ratio, ratio, ratio)
    return Latency("cpu", 1, "float32", False, 9, timing, timing, teacher, teacher, known, known)


def add(record: StudyRecord, space: SearchSpace, params: Params) -> str:
    """Add a trial whose student is measured, unless one like it was, and trained for an epoch."""
    student = space.describe(params)
    others = [t for t in record.trials() if t.architecture == student]
    ratio = 2.0 + len({t.architecture for t in record.trials()})
    latency = others[0].latency if others and others[0].latency else measured(ratio)
    number = record.add_trial(
        dict(params),
        distributions(space, params),
        source="sampler",
        label=None,
        architecture=student,
        epochs=9,
    )
    record.measured(number, ModelSize(1.0, 2.0, 3), latency)
    record.epoch(number, EpochResult(1, 1.0, 1.0, 50.0 + number, 0.1, 1.0))
    return student


def guide_of(space: SearchSpace, record: StudyRecord) -> Guide:
    record.set_attribute("reference_point", ReferencePoint(10.0, 100.0, 100.0).to_json())
    plan, _ = resolve(parser().parse_args(["--space", "cifar_blocks", "--data", "digits"]))
    return Guide(record, space, plan)


@pytest.mark.parametrize(
    "space",
    [
        *(*SPACES, cifar_self.SPACE, mhist_mobilenet.SPACE),
        SPACE.with_fixed({"width": 16}),
    ],
    ids=lambda space: space.name,
)
def test_the_latency_of_a_measured_student_is_known_of_all_that_build_it(
    space: SearchSpace, tmp_path: Path
) -> None:
    record = StudyRecord(tmp_path, "study", None)
    drawn = {p.name for p in space.parameters if space.can_be_drawn(p.name)}
    held = {p.name: p.default for p in space.parameters if p.name not in drawn}
    samples = [
        params
        for params in space.samples()
        if all(held.get(name, value) == value for name, value in params.items())
    ]
    for params in samples:
        add(record, space, params)
    guide = guide_of(space, record)
    trials = record.trials()
    guide._seen(trials, ())
    found = guide._search._latency.of(coding_of(space).genes_of(samples))

    expected = [trial.search_latency_ms or trial.latency_ms for trial in trials]
    assert found.tolist() == expected
    assert len({trial.architecture for trial in trials}) == len(set(expected)) > 1


def test_what_several_runs_come_to_is_what_a_whole_training_is_known_by(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "study", None)
    params = SPACE.complete({})
    for run, score in ((0, 80.0), (1, 70.0)):
        add(record, SPACE, params)
        for epoch in range(1, 10):
            record.epoch(run, EpochResult(epoch, 1.0, 1.0, score - 9 + epoch, 0.1, 1.0))
        ended = Outcome("complete", None, 9, score, 50.0, 1.0, "2026-01-01T00:00:00Z")
        record.finish(run, ended)
    alone, of_both = record.trials()
    guide = guide_of(SPACE, record)
    assert guide._seen([alone], ())[0].scores == tuple(float(72 + e) for e in range(9))
    again = replace(of_both, source="replicate", replicate_of=0, run=1)
    [seen] = guide._seen([alone, again], ())
    assert seen.scores == (*(float(72 + e) for e in range(8)), 75.0)


@pytest.mark.parametrize(
    ("status", "breaks", "feasible"),
    [
        ("complete", None, True),
        ("stopped", None, True),
        ("complete", "less than 60 %", False),
        ("infeasible", None, False),
        ("failed", None, False),
    ],
)
def test_what_ended_by_breaking_a_constraint_or_failed_is_on_no_front(
    status: OutcomeStatus, breaks: str | None, feasible: bool, tmp_path: Path
) -> None:
    record = StudyRecord(tmp_path, "study", None)
    add(record, SPACE, SPACE.complete({}))
    guide = guide_of(SPACE, record)
    [before] = guide._seen(record.trials(), ())

    record.finish(0, Outcome(status, None, 1, 50.0, 33.3, 1.0, "now", breaks=breaks))

    [after] = guide._seen(record.trials(), ())
    assert before.feasible
    assert after.feasible == feasible


@pytest.mark.parametrize(("diverged", "scores"), [(True, (50.0, 10.0)), (False, (50.0,))])
def test_whoever_diverged_has_come_to_the_worst_score(
    diverged: bool, scores: tuple[float, ...], tmp_path: Path
) -> None:
    record = StudyRecord(tmp_path, "study", None)
    add(record, SPACE, SPACE.complete({}))
    guide = guide_of(SPACE, record)

    failed = Outcome("failed", "the loss", 1, 50.0, 33.3, 1.0, "now", diverged=diverged)
    record.finish(0, failed)

    [seen] = guide._seen(record.trials(), ())
    assert seen.scores == scores
    assert not seen.feasible
    # The score tells of a training that diverged; any other failure is told as one.
    assert seen.failed is not diverged


def test_an_exit_that_is_refused_is_on_no_front(tmp_path: Path) -> None:
    record, space = StudyRecord(tmp_path, "study", None), cifar_self.SPACE
    params = space.complete({"exit": 3})
    add(record, space, params)
    guide = guide_of(space, record)
    small, large, *_ = space.siblings(params)
    for sibling, refusal in ((small, None), (large, "11 M parameters, more than 3 M")):
        record.add_exit(
            0,
            sibling["exit"],
            architecture=space.describe(sibling),
            model=ModelSize(1.0, 2.0, 3),
            latency=measured(5.0),
            curve=[EpochResult(epoch, 1.0, 1.0, 90.0, 0.1, 1.0) for epoch in range(1, 10)],
            refusal=refusal,
        )

    seen = guide._seen(record.trials(), ())

    assert [each.feasible for each in seen] == [True, True, False]


def test_a_trial_that_is_unlike_what_is_searched_is_no_example_of_it(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "study", None)
    for rate in (0.01, 0.02, 0.03):
        add(record, SPACE, SPACE.complete({"learning_rate": rate}))
    add(record, SPACE, SPACE.complete({"train_share": 0.1, "learning_rate": 0.04}))
    add(record, SPACE, SPACE.complete({"stem": "cifar", "learning_rate": 0.05}))
    guide = guide_of(SPACE, record)

    seen = guide._seen(record.trials(), ())
    assert [training.telling for training in seen] == [True, True, True, False, False]
