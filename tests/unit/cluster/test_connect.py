"""What a study takes of the machine that it runs on."""

import os

import pytest

from cluster import connect
from cluster.limits import Limits


@pytest.mark.parametrize(
    ("cores", "quota", "cpus"),
    [
        (64, 2.0, 2),  # docker run --cpus=2
        (64, 2.9, 2),
        (64, 0.5, 1),
        (2, 8.0, 2),  # docker run --cpus=8 --cpuset-cpus=0,1
        (4, None, 4),
    ],
)
def test_trials_get_the_cpus_that_they_may_run_on_and_have_the_time_of(
    monkeypatch: pytest.MonkeyPatch, cores: int, quota: float | None, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(connect, "read_limits", lambda: Limits(cpus=quota))

    assert connect.available_cpus() == cpus
