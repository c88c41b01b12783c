import pytest

from cluster.connect import ClusterError, check_address
from cluster.resources import TrialResources, plan_resources


def plan(**asked: object) -> TrialResources:
    known = {"cpus": 8, "gpus": 2, "cpus_per_trial": 1, "gpus_per_trial": 0.0, "concurrent": None}
    return plan_resources(**{**known, **asked})  # type: ignore[arg-type]


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
