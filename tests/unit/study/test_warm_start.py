"""What another study learnt, in the words of this one's space, and kept with it."""

import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_study import latency

from analysis.report import write_report
from analysis.results import ModelSize, Outcome, ReferencePoint
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import SearchSpace
from study.arguments import parser
from study.guide import Guide
from study.plan import PlanError, StudyPlan
from study.proposal import as_trials, distributions, propose
from study.record import StudyRecord, now
from study.resolving import resolve
from study.search.earlier import EarlierStudy
from study.searcher import TrialQueue
from study.seed_points import seed_points
from study.warm_start import EARLIER_FILE, Earlier, EarlierTrial, EpochScore, earlier_for, keep

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)


TEACHER = SAMPLE.teacher()["key"]


def asked(*arguments: str) -> tuple[StudyPlan, SearchSpace]:
    line = ["--space", "cifar_blocks", "--data", "digits", "--name", "mine", *arguments]
    return resolve(parser().parse_args(line))


def handed_over(studies: Path, *arguments: str, source: str = "other") -> Earlier:
    plan, space = asked("--warm-start", source, *arguments)
    found = earlier_for(plan, space, studies)
    assert found is not None
    return found


def params(rate: float, blocks: int = 1, **values: Any) -> dict[str, Any]:
    return SAMPLE.params((blocks, 1, 1, 0), learning_rate=rate, **values)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A studies folder with a study of twelve trials, of the space before it had a width."""
    folder = tmp_path / "studies"
    trials = [
        SAMPLE.trial(params(0.01 * n, blocks=1 + n % 2), accuracy=60.0 + n, ratio=3.0 + n % 3)
        for n in range(1, 9)
    ]
    trials += [
        SAMPLE.trial(params(0.1), accuracy=40.0, ratio=3.0, status="stopped", done=3, rung=3),
        SAMPLE.trial(params(0.11), ratio=1.0, status="infeasible", reason="too slow"),
    ]
    SAMPLE.write_record(folder / "other", trials, plan_content=SAMPLE.plan("other"))
    return folder


def test_trials_are_handed_over_with_their_curves_and_the_differences_named(studies: Path) -> None:
    earlier = handed_over(studies)

    assert len(earlier.trials) == 9
    whole, stopped = earlier.trials[0], earlier.trials[-1]
    assert [each.epoch for each in whole.scores] == list(range(1, 31))
    assert (len(stopped.scores), stopped.epochs) == (3, 30)
    assert whole.params["width"] == SPACE.parameter("width").default
    assert whole.architecture == SPACE.describe(whole.params)
    assert earlier.lines[:2] == (
        "9 of 9 trials of study other",
        f"parameter width is new: taken as {SPACE.parameter('width').default}",
    )


def test_what_cannot_be_had_here_is_left_out_by_name(studies: Path) -> None:
    held = handed_over(studies, "--fix", "blocks_1=1")

    assert len(held.trials) == 5
    assert held.lines[0] == "5 of 9 trials of study other"
    assert held.lines[1] == "without: 4 whose blocks_1=2 is held at 1 here"


@pytest.mark.parametrize(
    ("there", "here", "alike"),
    [
        ({}, (), True),
        ({"data": "another"}, (), False),
        ({}, ("--max-epochs", "29"), False),
        ({}, ("--train-per-class", "50"), False),
        ({"train_per_class": 50}, ("--train-per-class", "50"), True),
        ({"unit": "share"}, (), False),
    ],
)
def test_scores_are_compared_where_the_same_images_were_learnt_from_alike(
    tmp_path: Path, there: dict[str, Any], here: tuple[str, ...], alike: bool
) -> None:
    """The data set has another name there, which says nothing."""
    content = SAMPLE.plan("other", train_per_class=there.get("train_per_class"))
    assert content["data"]["name"] == "cifar10"
    content["data"]["hash"] = there.get("data", "the same")
    content["space"]["score"]["unit"] = there.get("unit", "%")
    trial = SAMPLE.trial(params(0.01), accuracy=60.0, ratio=3.0)
    SAMPLE.write_record(tmp_path / "other", [trial], plan_content=content)

    found = handed_over(tmp_path, "--max-epochs", "30", *here)

    assert found.on("the same", TEACHER).alike is alike
    assert not found.on("some other", TEACHER).alike


@pytest.mark.parametrize(
    ("there", "here", "line"),
    [
        ({}, ("--max-epochs", "29"), "its students trained 30 epochs, here 29"),
        (
            {},
            ("--train-per-class", "50"),
            "its students learnt from all images, here from 50 images of each class",
        ),
        ({"unit": "share"}, (), "its score is accuracy (share), here accuracy (%)"),
        ({"data": "another"}, (), "its images are others than those here"),
    ],
)
def test_how_its_scores_differ_is_named(
    tmp_path: Path, there: dict[str, Any], here: tuple[str, ...], line: str
) -> None:
    content = SAMPLE.plan("other")
    content["data"]["hash"] = there.get("data", "the same")
    content["space"]["score"]["unit"] = there.get("unit", "%")
    trial = SAMPLE.trial(params(0.01), accuracy=60.0, ratio=3.0)
    SAMPLE.write_record(tmp_path / "other", [trial], plan_content=content)
    alike = handed_over(tmp_path, "--max-epochs", "30").on(there.get("data", "the same"), TEACHER)

    found = handed_over(tmp_path, "--max-epochs", "30", *here).on("the same", TEACHER)

    assert found.lines[-1] == line
    assert found.on("the same", TEACHER).lines == found.lines
    assert "data" not in there or line not in alike.lines


def test_what_was_kept_without_its_data_stays_as_it_was_taken() -> None:
    body = earlier_of(RATES).to_json()
    del body["data"], body["teacher"]
    kept = Earlier.from_json(body)
    assert kept.alike
    assert kept.on("any", "none") == kept


def test_a_report_s_table_hands_over_the_ends(studies: Path) -> None:
    write_report(studies / "other")
    table = studies / "other" / "report" / "results.csv"

    from_record = handed_over(studies)
    from_table = handed_over(studies, source=str(table))

    assert from_table.lines[0] == "9 of 9 trials of table results.csv"
    for one, other in zip(from_record.trials, from_table.trials, strict=True):
        assert other.params == pytest.approx(one.params)
        assert other.architecture == one.architecture
        assert other.scores == (EpochScore(one.scores[-1].epoch, pytest.approx(one.score)),)
        assert other.latency_ms == pytest.approx(one.latency_ms)


def test_a_study_keeps_what_it_was_given_whatever_becomes_of_the_other(studies: Path) -> None:
    plan, space = asked("--warm-start", "other")
    first = earlier_for(plan, space, studies)
    assert first is not None
    folder = studies / "mine"
    folder.mkdir()
    keep(folder, first)
    (folder / "plan.json").write_text(json.dumps({"format": 2, "plan": plan.to_json()}))
    shutil.rmtree(studies / "other")

    again = earlier_for(plan, space, studies)

    assert again == first
    assert again.hash == first.hash
    body = json.loads((folder / EARLIER_FILE).read_text())
    (folder / EARLIER_FILE).write_text(json.dumps(body)[:-9])
    with pytest.raises(PlanError, match="restore it from a copy"):
        earlier_for(plan, space, studies)


def test_what_is_handed_over_is_part_of_the_question(studies: Path) -> None:
    plan, _ = asked("--warm-start", "other")
    earlier = handed_over(studies)
    fewer = replace(earlier, trials=earlier.trials[1:])
    keys = {"space_hash": "s", "data_hash": "d", "teacher_key": "t"}

    without, _ = asked()
    identities = [
        without.identity(**keys),
        plan.identity(**keys, handed_over=earlier.hash),
        plan.identity(**keys, handed_over=fewer.hash),
    ]

    assert identities[0].keys() & {"warm_start", "handed_over"} == set()
    assert identities[1]["warm_start"] == "other"
    assert identities[1] != identities[2]


def table(text: str) -> Callable[[Path], str]:
    def write(studies: Path) -> str:
        path = studies / "table.csv"
        path.write_text(text)
        return str(path)

    return write


HEADER = "status,val_score,latency_ms,epochs,epochs_done"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (lambda studies: "othr", "--warm-start 'othr' is no study in .*; did you mean other"),
        (lambda studies: str(studies / "nothing"), "is no study"),
        (lambda studies: "mine", "is this study itself"),
        (table("a,b\n1,2\n"), "has no column status; give the results.csv of a report"),
        (table(HEADER + "\n"), "has no column param_NAME"),
        (table(HEADER + ",param_width\ncomplete,x,1,2,2,16\n"), "line 2: val_score 'x' is no num"),
        (table(HEADER + ",param_width\n"), "none of the 0 trials .*, as none was trained"),
        (table(HEADER + ",param_width\ncomplete,9,1,2,2,17\n"), "1 whose width=17 is not in this"),
        (table(HEADER + ",param_depth\ncomplete,9,1,2,2,3\n"), "has no parameter of space"),
        (table('"\n'), "has no column|cannot be read as a table"),
        (
            table(HEADER + ",param_width\ncomplete,1"),
            "line 2: epochs_done None is no number",
        ),
    ],
)
def test_what_cannot_be_handed_over_is_refused_in_one_line(
    studies: Path, source: Callable[[Path], str], named: str
) -> None:
    plan, space = asked("--warm-start", source(studies))

    with pytest.raises(PlanError, match=named) as refusal:
        earlier_for(plan, space, studies)

    assert "\n" not in str(refusal.value)


def test_a_sampler_that_learns_nothing_is_refused() -> None:
    with pytest.raises(PlanError, match="learns from nothing"):
        asked("--warm-start", "other", "--sampler", "random")
    asked("--warm-start", "other", "--sampler", "random", "--scheduler", "pause")


# What is learnt


def earlier_of(rates: list[float], *, alike: bool = True, best: float = 0.05) -> Earlier:
    trials = []
    for number, rate in enumerate(rates):
        given = SPACE.complete({"learning_rate": rate, "blocks_1": 1 + number % 2})
        score = 90.0 - 400.0 * abs(rate - best)
        trials.append(
            EarlierTrial(given, SPACE.describe(given), (EpochScore(30, score),), 30, 4.0, 1.0, 9.0)
        )
    return Earlier("other", alike, tuple(trials), ("all of it",))


RATES = [0.005 + 0.005 * n for n in range(30)]


def add(record: StudyRecord, rate: float, score: float) -> None:
    given = SPACE.complete({"learning_rate": rate})
    number = record.add_trial(
        given,
        distributions(SPACE, given),
        source="sampler",
        label=None,
        architecture=SPACE.describe(given),
        epochs=30,
    )
    record.finish(number, Outcome("complete", None, 30, score, 8.0, 1.0, now()))


def test_tpe_is_shown_what_was_learnt_and_the_record_is_not(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "study", None)
    shown = as_trials(earlier_of(RATES), (), SPACE, None)

    def rates(earlier: Any) -> list[float]:
        found = [
            propose(
                record.study, SPACE, sampler="tpe", seed=seed, number=0, tried=(), earlier=earlier
            )
            for seed in range(15)
        ]
        return sorted(float(each["learning_rate"]) for each in found)

    warm, cold = rates(shown), rates(())
    assert sum(0.03 < rate < 0.07 for rate in warm) > sum(0.03 < rate < 0.07 for rate in cold)
    assert sum(0.03 < rate < 0.07 for rate in warm) >= 9
    assert record.frozen_trials() == []


def test_latencies_and_scores_are_brought_to_those_here(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "study", None)
    for number in range(6):
        add(record, 0.01 + 0.01 * number, 30.0 + number)
    own = record.trials()

    alike = as_trials(earlier_of(RATES), own, SPACE, None)
    unlike = as_trials(earlier_of(RATES, alike=False), own, SPACE, None)
    third = as_trials(earlier_of(RATES), own, SPACE, "params_m")

    # The default student is timed at 4 ms there and 8 ms here.
    assert {trial.values[1] for trial in alike} == {8.0}
    assert max(trial.values[0] for trial in alike) == pytest.approx(90.0, abs=1.0)
    assert max(trial.values[0] for trial in unlike) < 40.0
    assert third[0].values[2] == 1.0
    assert [trial.number for trial in alike] == list(range(-30, 0))


def test_the_search_begins_with_the_front_of_the_other_study(tmp_path: Path) -> None:
    plan, space = asked("--sampler", "latency-first", "--scheduler", "pause", "--max-epochs", "30")
    record = StudyRecord(tmp_path, "study", None)
    record.set_attribute("reference_point", ReferencePoint(10.0, 100.0, 100.0).to_json())
    earlier = earlier_of(RATES)
    guide = Guide(record, space, plan, earlier)
    seeds = seed_points(space, None, plan.fixed)
    queue = TrialQueue(record, space, plan, seeds, lambda: False, guide, earlier)

    tasks = []
    for _ in range(3):
        task = queue.next_task()
        assert task is not None
        record.measured(task.number, ModelSize(1.0, 1.0, 1), latency(2.0))
        tasks.append(task)

    assert tasks[2].params["learning_rate"] == pytest.approx(0.05)
    assert len(record.trials()) == 3


def test_what_is_fitted_to_another_study_is_chosen_by_the_seed_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, space = asked("--sampler", "latency-first", "--scheduler", "pause", "--seed", "7")
    record = StudyRecord(tmp_path, "study", None)
    record.set_attribute("reference_point", ReferencePoint(10.0, 100.0, 100.0).to_json())
    seeds = []

    class Seen(EarlierStudy):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            seeds.append(self._seed)

    monkeypatch.setattr("study.search.earlier.EarlierStudy", Seen)
    Guide(record, space, plan, earlier_of(RATES))

    assert seeds == [7]
