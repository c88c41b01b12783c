"""The benchmarks that run whole studies, at their smallest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]


def ran(*command: str) -> dict:
    """The object that a benchmark prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_students_an_hour_of_a_plain_loop_and_of_this_service() -> None:
    arms = ("plain", "service")
    found = ran(
        "tests.benchmarks.throughput", "--quick", "--spaces", "mnist_dense", "--arms", *arms
    )
    dense = found["mnist_dense"]
    assert dense["ratio_plain"] == dense["arms"]["plain"]["ratio"] > 0
    for arm in arms:
        (accuracies,) = dense["arms"][arm]["accuracies"]
        assert len(accuracies) == 3
        assert min(accuracies) > 50
    assert dense["arms"]["service"]["time"]["trials"] == 3


def test_what_the_service_itself_costs() -> None:
    found = ran("tests.benchmarks.scale", "--trials", "30", "--sampler", "random")
    assert found["trials"] == 30
    # Though every trial is over before the second worker is up.
    assert found["workers_started"] == found["concurrent"]
