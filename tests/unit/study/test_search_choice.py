"""Which search a study has where none, or half of one, is asked for."""

import json
from pathlib import Path

import pytest

from analysis.results import PLAN_FORMAT
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.resolving import resolve
from study.search_choice import chosen


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((None, None), ("latency-first", "pause")),
        (("tpe", None), ("tpe", "pareto")),
        (("random", None), ("random", "pareto")),
        ((None, "none"), ("latency-first", "none")),
        ((None, "pareto"), ("latency-first", "pareto")),
        (("tpe", "pause"), ("tpe", "pause")),
    ],
)
def test_a_scheduler_goes_with_its_sampler(
    asked: tuple[str | None, str | None], found: tuple[str, str]
) -> None:
    assert chosen(*asked) == found


@pytest.mark.parametrize(
    "objectives", ["score,latency", "score,latency,params", "accuracy,latency,flops"]
)
def test_a_study_of_two_or_three_objectives_that_exists_keeps_its_own(
    tmp_path: Path, objectives: str
) -> None:
    arguments = ["--space", "cifar_blocks", "--data", "digits", "--studies", str(tmp_path)]
    arguments += ["--objectives", objectives]
    plan, _ = resolve(parser().parse_args(arguments))
    assert (plan.sampler, plan.scheduler) == ("latency-first", "pause")

    folder = tmp_path / plan.name
    folder.mkdir()
    stored = {**plan.to_json(), "sampler": "tpe", "scheduler": "pareto"}
    (folder / "plan.json").write_text(json.dumps({"format": PLAN_FORMAT, "plan": stored}))
    again, space = resolve(parser().parse_args(arguments))
    other, _ = resolve(parser().parse_args([*arguments, "--sampler", "random"]))

    assert (again.sampler, again.scheduler) == ("tpe", "pareto")
    assert (other.sampler, other.scheduler) == ("random", "pareto")
    assert space.name == SPACE.name
