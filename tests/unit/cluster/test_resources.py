from collections.abc import Sequence

import pytest

from cluster.connect import ClusterError, check_address
from cluster.kinds import Node
from cluster.resources import TrialResources, plan_resources


def plan(cpus: int = 8, gpus: int = 2, **asked: object) -> TrialResources:
    return plan_over([(cpus, gpus)], **asked)


def plan_over(sizes: Sequence[tuple[int, int]], **asked: object) -> TrialResources:
    """Plan over nodes of so many CPUs and GPUs each."""
    nodes = [Node(str(place), *size, "kind") for place, size in enumerate(sizes)]
    known = {"cpus_per_trial": 1, "gpus_per_trial": 0.0, "concurrent": None}
    return plan_resources(nodes, **{**known, **asked})  # type: ignore[arg-type]


def test_as_many_trials_run_at_once_as_have_cpus_of_their_own() -> None:
    assert plan().concurrent == 8
    assert plan(cpus_per_trial=3).concurrent == 2
    assert plan(concurrent=5).concurrent == 5


def test_gpus_shared_by_fraction_limit_how_many_run_at_once() -> None:
    assert plan(gpus_per_trial=0.5).concurrent == 4
    assert plan(gpus_per_trial=1.0).concurrent == 2
    assert plan(gpus_per_trial=0.1, cpus=64).concurrent == 20


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpus_per_trial": 9}, "at most 8"),
        ({"gpus_per_trial": 3.0}, "cluster's 2"),
        ({"concurrent": 9, "cpus_per_trial": 8}, "only 1 trial of 8 CPUs fits at once"),
        ({"concurrent": 9}, "only 8 trials of 1 CPU fit at once; give 8 or fewer"),
        ({"concurrent": 5, "gpus_per_trial": 0.5}, "4 trials of 1 CPU and 0.5 GPUs fit at once"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_most_that_does(
    asked: dict[str, object], words: str
) -> None:
    with pytest.raises(ClusterError, match=words):
        plan(**asked)


@pytest.mark.parametrize(
    ("sizes", "cpus", "gpus", "fit"),
    [
        ([(3, 0), (3, 0), (3, 0)], 2, 0.0, 3),  # of nine CPUs, one a node is left over
        ([(16, 4)], 1, 0.75, 4),  # a trial has no parts of two GPUs
        ([(8, 1), (8, 1)], 1, 0.5, 4),
        ([(2, 4), (16, 1)], 1, 1.0, 3),  # the CPUs of one are no use to the GPUs of the other
        ([(8, 5), (8, 3)], 1, 2.0, 3),
        ([(8, 0), (4, 0)], 4, 0.0, 3),
    ],
)
def test_what_fits_is_counted_node_by_node(
    sizes: list[tuple[int, int]], cpus: int, gpus: float, fit: int
) -> None:
    asked = {"cpus_per_trial": cpus, "gpus_per_trial": gpus}
    assert plan_over(sizes, **asked).concurrent == fit
    with pytest.raises(ClusterError, match=f"give {fit} or fewer"):
        plan_over(sizes, **asked, concurrent=fit + 1)


@pytest.mark.parametrize(
    ("sizes", "asked", "words"),
    [
        (
            [(8, 1), (8, 1)],
            {"gpus_per_trial": 2.0},
            "--gpus-per-trial 2: a trial runs on one node, and the largest has 1; give at most 1",
        ),
        (
            [(3, 0), (3, 0)],
            {"cpus_per_trial": 4},
            "--cpus-per-trial 4: a trial runs on one node, and the largest has 3; give at most 3",
        ),
        (
            [(16, 1), (2, 4)],
            {"cpus_per_trial": 4, "gpus_per_trial": 2.0},
            "--cpus-per-trial 4: a trial runs on one node, and of those with 2 GPUs the largest "
            "has 2; give at most 2",
        ),
    ],
)
def test_a_trial_that_is_larger_than_any_node_is_refused_with_the_largest_that_fits(
    sizes: list[tuple[int, int]], asked: dict[str, object], words: str
) -> None:
    with pytest.raises(ClusterError) as said:
        plan_over(sizes, **asked)
    assert str(said.value) == words


@pytest.mark.parametrize("address", [None, "local"])
def test_a_ray_of_its_own_needs_no_check(address: str | None) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address", ["head", "head:", "head:port", "head:99999", "http://h:1", "a b:1"]
)
def test_an_address_that_is_not_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("address", ["head", "127.0.0.1:1"])
def test_what_is_said_of_an_address_can_be_followed_where_a_plan_has_it(address: str) -> None:
    """To leave the option out of a resume asks for the plan's address again."""
    with pytest.raises(ClusterError, match=r"or run on this machine with --address local$"):
        check_address(address)
