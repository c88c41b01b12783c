"""The front as pt2 files, made on a worker: what goes wrong there is told in its own words."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from cluster.connect import Cluster, ClusterError
from search_spaces.cifar_blocks import SPACE
from study.exporting import programs

TRIAL: Any = SimpleNamespace(number=3)


def refuse(*_: object) -> None:
    raise ValueError("the student cannot be had")


def dawdle(*_: object) -> None:
    time.sleep(60)


def test_what_is_wrong_with_a_student_is_told_as_it_is(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_write_there", refuse)
    with pytest.raises(ValueError, match=r"^the student cannot be had$"):
        programs.on_worker(tmp_path, SPACE, cluster)(TRIAL, 60)


def test_what_takes_too_long_is_given_up(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_write_there", dawdle)
    with pytest.raises(TimeoutError, match=r"^it took too long$"):
        programs.on_worker(tmp_path, SPACE, cluster)(TRIAL, 0.1)


def test_a_node_without_this_package_is_told_with_the_mend(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise ray.exceptions.RaySystemError("ModuleNotFoundError: No module named 'study'")

    monkeypatch.setattr(programs, "_write_there", refuse)
    make = programs.on_worker(tmp_path, SPACE, cluster)
    monkeypatch.setattr(ray, "get", lacks)
    with pytest.raises(ClusterError, match="no module 'study'; install this package"):
        make(TRIAL, 60)
