"""How many CPUs a trial is to have."""

import io
from dataclasses import replace

import numpy as np
import pytest
from tiny_study import make_data

from cluster.connect import Cluster, ClusterError
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.core_split import Rate, best, measure_split, splits
from study.plan import TO_BE_MEASURED, PlanError, StudyPlan
from study.progress import Progress
from study.resolving import resolve


@pytest.mark.parametrize(
    ("cpus", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_powers_of_two_are_tried_and_a_whole_node(cpus: int, tried: list[int]) -> None:
    assert splits(cpus) == tried


@pytest.mark.parametrize(
    ("images", "chosen"),
    [
        ((1000.0, 1040.0, 900.0), 1),  # two CPUs a trial are no better than noise is
        ((1000.0, 1060.0, 1080.0), 2),
        ((1000.0, 990.0, 1200.0), 4),
    ],
)
def test_more_cpus_a_trial_have_to_be_clearly_better(
    images: tuple[float, ...], chosen: int
) -> None:
    rates = [Rate(cpus, 4 // cpus, rate) for cpus, rate in zip((1, 2, 4), images, strict=True)]
    assert best(rates).cpus == chosen


def plan_of(*arguments: str) -> StudyPlan:
    return resolve(
        parser().parse_args(["--space", "cifar_blocks", "--data", "digits", *arguments])
    )[0]


def test_cpus_are_to_be_measured_where_that_is_asked_for() -> None:
    plan = plan_of("--cpus-per-trial", "auto")
    assert plan.cpus_per_trial == TO_BE_MEASURED
    assert plan.threads == 1  # meanwhile
    assert plan_of("--cpus-per-trial", "3").cpus_per_trial == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cpus-per-trial", "many"), "no number of CPUs; give 1 or more, or auto"),
        (("--cpus-per-trial", "0"), "less than 1; give 1 or more, or auto"),
        (("--cpus-per-trial", "auto", "--gpus-per-trial", "1"), "give a number beside"),
    ],
)
def test_what_is_no_number_of_cpus_is_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan_of(*arguments)


def test_a_split_is_not_waited_for_once_no_node_has_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(cluster, largest=10_000)
    monkeypatch.setattr("study.core_split.splits", lambda cpus: [cpus])
    plan, data = plan_of("--cpus-per-trial", "auto"), make_data(np.random.default_rng(0))

    with pytest.raises(ClusterError, match="no node of the cluster has 10000 CPUs"):
        measure_split(plan, SPACE, data, large, Progress(io.StringIO()))
