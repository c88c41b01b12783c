"""A study goes on only where its latencies were taken: on the same kind of processor."""

import json
from pathlib import Path

import pytest

from analysis import results
from cluster.connect import ClusterError
from cluster.kinds import processor_name
from study.arguments import parser
from study.driving import check
from study.plan import StudyPlan
from study.resolving import resolve

DIGITS = ["--space", "cifar_blocks", "--data", "digits", "--name", "kept"]


def begin(studies: Path, kind: str | None) -> None:
    """Leave behind what a study leaves that ran on some kind."""
    (studies / "kept").mkdir()
    body = {"format": results.PLAN_FORMAT, **({results.DEVICE_KIND: kind} if kind else {})}
    (studies / "kept" / results.PLAN_FILE).write_text(json.dumps(body))


@pytest.mark.parametrize("kind", [processor_name(), None])
def test_a_study_goes_on_where_it_ran_and_an_old_one_anywhere(
    tmp_path: Path, kind: str | None
) -> None:
    begin(tmp_path, kind)
    check(*resolve(parser().parse_args(DIGITS)), tmp_path)


def test_a_study_that_ran_on_another_processor_is_refused_before_ray_starts(tmp_path: Path) -> None:
    begin(tmp_path, "A Processor Of 1971")
    with pytest.raises(
        ClusterError, match="ran on A Processor Of 1971, and this cluster has only"
    ) as said:
        check(*resolve(parser().parse_args(DIGITS)), tmp_path)
    assert processor_name() in str(said.value)
    assert "--name" in str(said.value)


def test_a_kind_that_is_not_here_is_refused(tmp_path: Path) -> None:
    asked = [*DIGITS, "--device-kind", "A Processor Of 1971"]
    with pytest.raises(
        ClusterError, match="--device-kind 'A Processor Of 1971': this cluster has only"
    ):
        check(*resolve(parser().parse_args(asked)), tmp_path)


def test_where_a_study_is_to_run_is_no_part_of_what_it_asks() -> None:
    plain, _ = resolve(parser().parse_args(DIGITS))
    named, _ = resolve(parser().parse_args([*DIGITS, "--device-kind", processor_name()]))
    hashes = {"space_hash": "s", "data_hash": "d", "teacher_key": "t"}
    assert plain.identity(**hashes) == named.identity(**hashes)
    assert StudyPlan.from_json(named.to_json()) == named
    old = plain.to_json()
    del old["device_kind"]
    assert StudyPlan.from_json(old) == plain
