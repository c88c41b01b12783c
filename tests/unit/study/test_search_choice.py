"""Which search a study has where none, or half of one, is asked for."""

import json
from pathlib import Path

import pytest

from analysis.results import PLAN_FORMAT
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.resolving import resolve
from study.search_choice import chosen, why_another

TWO, THREE = ("score", "latency"), ("score", "latency", "params")


@pytest.mark.parametrize(
    ("asked", "objectives", "found"),
    [
        ((None, None), TWO, ("latency-first", "pause")),
        ((None, None), THREE, ("tpe", "pareto")),
        (("tpe", None), TWO, ("tpe", "pareto")),
        (("random", None), TWO, ("random", "pareto")),
        ((None, "none"), TWO, ("latency-first", "none")),
        ((None, "pareto"), TWO, ("latency-first", "pareto")),
        (("latency-first", "pause"), THREE, ("latency-first", "pause")),
    ],
)
def test_the_default_is_what_is_at_home_in_the_objectives(
    asked: tuple[str | None, str | None], objectives: tuple[str, ...], found: tuple[str, str]
) -> None:
    assert chosen(*asked, objectives) == found


def test_a_study_of_three_objectives_is_told_why_it_has_another() -> None:
    assert why_another("tpe", "pareto", THREE) == (
        "as latency-first with pause knows score and latency, and no params"
    )
    assert why_another("tpe", "pareto", TWO) == why_another("random", "none", THREE) == ""


def test_a_study_that_exists_keeps_its_own(tmp_path: Path) -> None:
    arguments = ["--space", "cifar_blocks", "--data", "digits", "--studies", str(tmp_path)]
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
