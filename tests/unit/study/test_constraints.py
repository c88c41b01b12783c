"""What a study asks of its students: asked for, hashed, learnt from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR
from study.arguments import parser
from study.constraints import Constraints, check_min_score
from study.plan import PlanError, StudyPlan, identity_hash
from study.proposal import distributions, propose
from study.record import StudyRecord
from study.resolving import resolve


def make_plan(*arguments: str) -> StudyPlan:
    line = ["--space", "cifar_blocks", "--data", "digits", *arguments]
    plan, _ = resolve(parser().parse_args(line))
    return plan


def identity(plan: StudyPlan) -> dict[str, Any]:
    return plan.identity(space_hash="s", data_hash="d", teacher_key="t")


def test_a_least_score_is_part_of_the_question_under_either_name() -> None:
    plan, same = make_plan("--min-accuracy", "80"), make_plan("--min-score", "80")

    assert plan == same
    assert StudyPlan.from_json(plan.to_json()) == plan
    assert identity(plan)["min_score"] == 80.0


def test_a_plan_stored_before_there_was_a_least_score_is_the_same_study() -> None:
    plan = make_plan()
    body = plan.to_json()
    del body["min_score"]

    assert StudyPlan.from_json(body) == plan
    assert "min_score" not in identity(plan)
    assert identity_hash(identity(StudyPlan.from_json(body))) == identity_hash(identity(plan))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("100", "--min-accuracy 100: accuracy is perfect at 100 %; give less"),
        ("120", "--min-accuracy 120"),
        ("inf", "--min-accuracy inf"),
        ("nan", "--min-accuracy nan is not above 0"),
        ("0", "--min-accuracy 0 is not above 0; give %, such as 90"),
        ("0.9", "--min-accuracy 0.9 is in percent; did you mean 90?"),
        ("-3", "--min-accuracy -3"),
    ],
)
def test_a_least_score_that_no_student_or_every_student_has_is_refused(
    asked: str, named: str
) -> None:
    with pytest.raises(PlanError, match=named):
        make_plan("--min-accuracy", asked)


def test_a_least_score_is_counted_in_the_spaces_own_unit() -> None:
    space = replace(SPACE, score=PSNR)

    check_min_score(49.0, space)
    with pytest.raises(PlanError, match="--min-score 50: PSNR is perfect at 50 dB; give less"):
        check_min_score(50.0, space)


@pytest.mark.parametrize(
    ("score", "words"),
    [(79.99, "79.99 %, less than 80.00 %"), (79.9996, "79.9996 %, less than 80.00 %")],
)
def test_a_score_just_below_the_least_is_shown_to_be_below_it(score: float, words: str) -> None:
    told = Constraints(min_score=80.0).too_poor(score)
    assert told is not None
    assert told.replace("\u00a0", " ") == f"accuracy {words}"
    assert Constraints(min_score=80.0).too_poor(80.0) is None


def test_violations_are_shares_of_the_limits() -> None:
    constraints = Constraints(max_latency_ms=4.0, max_params_m=2.0, min_score=80.0)

    assert constraints.violations(6.0, 1.0, None) == pytest.approx({"latency": 0.5, "params": -0.5})
    assert constraints.violations(4.0, None, 60.0) == pytest.approx({"latency": 0, "score": 0.25})
    assert Constraints().violations(6.0, 1.0, 60.0) == {}


def proposals(folder: Path, *, told: bool) -> list[float]:
    """Learning rates proposed after a study in which high ones broke a constraint."""
    record = StudyRecord(folder, "study", None)
    for number in range(30):
        rate = 0.01 * 10 ** (number / 30)
        params = SPACE.complete({"learning_rate": rate})
        broken = rate > 0.02
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL if broken else optuna.trial.TrialState.COMPLETE,
            params=params,
            distributions=distributions(SPACE, params),
            values=None if broken else [80.0, 1.0],
            constraints={"score": rate - 0.02} if told else {},
        )
        record.study.add_trial(trial)
    found = []
    for seed in range(12):
        params = propose(record.study, SPACE, sampler="tpe", seed=seed, number=30, tried=set())
        found.append(float(params["learning_rate"]))
    return found


def test_tpe_keeps_away_from_what_broke_a_constraint(tmp_path: Path) -> None:
    for name in ("told", "untold"):
        (tmp_path / name).mkdir()

    told = proposals(tmp_path / "told", told=True)
    untold = proposals(tmp_path / "untold", told=False)

    far = [sum(rate > 0.03 for rate in rates) for rates in (told, untold)]
    assert far[0] < far[1]
    assert far[0] <= 3
