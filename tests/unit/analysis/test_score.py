"""What is said of a score: by its own name, in its own unit."""

import json
import re
from html import unescape

import pytest

from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.export import results_markdown
from analysis.findings import find
from analysis.record import read_record
from analysis.report import render
from analysis.stored_plan import Score, Space
from analysis.table import columns
from analysis.wording import sentences
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR, WEIGHTED_F1, replace

PARAMETERS = {"key": "params_m", "label": "parameters", "unit": "M", "direction": "minimize"}


def words_of(results):
    """The visible text of a report."""
    body = render(results).partition("<body>")[2].partition("<script")[0]
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).replace("\u00a0", " ").split())


@pytest.fixture
def scored(sample, tmp_path):
    """Writes a small study of another score, with a control, and reads it back."""

    def write(name, unit, best, *, values=(31.0, 29.5, 27.0), third=None):
        plan = sample.plan(published=False)
        plan["space"]["score"] = {"name": name, "unit": unit, "best": best}
        plan["space"]["objectives"][0] |= {"label": f"validation {name}", "unit": unit}
        if third is not None:
            plan["space"]["objectives"].append(third)
        distilled, control, stopped = values
        large, small = sample.params((2, 2, 2, 2)), sample.params((1, 0, 0, 0), terms="ce")
        trials = [
            sample.trial(large, accuracy=distilled, ratio=4.0, confirmed=(distilled - 1, 4.0)),
            sample.trial(sample.params((2, 2, 2, 2), terms="ce"), accuracy=control, ratio=4.0),
            sample.trial(small, accuracy=stopped, ratio=3.0),
        ]
        teacher = sample.teacher(val_score=distilled + 3.0, test_score=distilled + 2.0)
        folder = tmp_path / "scored"
        sample.write_record(folder, trials, plan_content=plan, teacher_content=teacher)
        return read_record(folder)

    return write


@pytest.mark.parametrize("score", [WEIGHTED_F1, PSNR])
@pytest.mark.parametrize("objectives", [("score", "latency"), ("score", "latency", "flops")])
def test_what_a_plan_stores_of_a_space_is_read_back(score, objectives):
    space = replace(SPACE, score=score).with_objectives(objectives)
    stored = Space.from_json(json.loads(json.dumps(space.to_json("paper"))))

    assert stored.score == Score(score.name, score.unit, score.best)
    assert [vars(objective) for objective in stored.objectives] == [
        vars(objective) for objective in space.objectives
    ]
    assert stored.third == ("flops_m" if "flops" in objectives else None)
    assert stored.to_json()["score"] == space.to_json()["score"]
    assert "score" in {column.key for column in stored.published.columns}


def test_differences_are_points_of_percent_and_decibels_otherwise():
    f1, psnr = Score("weighted F1", "%", 100.0), Score("PSNR", "dB", 50.0)

    assert (f1.points, f1.one_point) == ("points", "one point")
    assert (psnr.points, psnr.one_point) == ("dB", "1\u00a0dB")
    assert f1.title == "Weighted F1"


def test_a_report_in_decibels_says_neither_accuracy_nor_points(scored):
    results = scored("PSNR", "dB", 50.0)
    words = words_of(results)

    assert "31.0 dB at" in words
    assert "Distillation changed validation PSNR by +1.5 dB" in words
    assert "The line is the best PSNR reached within each latency." in words
    assert "and 50 dB at no latency" in words
    assert "Chosen by validation PSNR and latency" in words
    assert "so that a gain may be chance; several runs" in words
    assert "teacher's test PSNR" in words
    found = " ".join(sentences(results, find(results)))
    assert "within 1\u00a0dB" in found
    for wrong in ("accuracy", "Accuracy", "chance accuracy", " points"):
        assert wrong not in words


def test_a_report_of_weighted_f1_says_so_in_percent_and_points(scored):
    results = scored("weighted F1", "%", 100.0, values=(81.0, 79.0, 70.0))
    words = words_of(results)

    assert "Distillation changed validation weighted F1 by +2.0 points" in words
    assert "The line is the best weighted F1 reached within each latency." in words
    assert "the weighted F1 of always naming the largest class: 10.0 %" in words
    assert "accuracy" not in words
    info = front_info(results)
    assert info.y_title == "Validation weighted F1, %"
    assert "validation weighted F1 81.0" in info.marks[0].hover


def test_the_majority_floor_is_a_named_line_and_chance_is_none(scored, realistic):
    weighted = front_figure(front_info(scored("weighted F1", "%", 100.0, values=(81.0, 79.0, 70))))
    accuracy = front_figure(front_info(realistic))

    (line,) = weighted.layout.shapes
    assert (line.y0, line.y1) == (10.0, 10.0)
    assert [note.text for note in weighted.layout.annotations if note.text] == [
        "always naming the largest class 10.0\u00a0%"
    ]
    assert not accuracy.layout.shapes


def test_the_majority_floor_is_a_line_among_the_learning_curves_too(scored, realistic):
    weighted = curves_figure(curves_info(scored("weighted F1", "%", 100.0, values=(81, 79, 70))))
    accuracy = curves_figure(curves_info(realistic))

    named = {note.text: note.y for note in weighted.layout.annotations}
    assert named["always naming the largest class 10.0\u00a0%"] == 10.0
    assert 10.0 in [line.y0 for line in weighted.layout.shapes]
    assert not any("naming" in note.text for note in accuracy.layout.annotations)


def test_a_floor_below_the_view_is_said_to_be(scored):
    results = scored("weighted F1", "%", 100.0, values=(81.0, 79.0, 78.0))

    assert "Below this view lies the weighted F1 of always naming the largest class: 10.0" in (
        words_of(results)
    )


def test_tables_carry_the_name_and_unit_of_the_score(scored):
    results = scored("PSNR", "dB", 50.0)
    described = {column.name: column for column in columns(results.plan.space)}

    assert described["val_score"].unit == "dB"
    assert described["test_score"].meaning.startswith("test PSNR")
    assert described["kd_gain"].unit == "dB"
    assert "val_score (dB)" in results_markdown(results)


def test_a_third_objective_is_named_and_its_members_are_solid_off_the_line(scored):
    results = scored("accuracy", "%", 100.0, values=(81.0, 79.0, 70.0), third=PARAMETERS)
    words = words_of(results)
    info = front_info(results)

    # The small student is slower and less accurate than the large one, and has fewer parameters.
    assert [trial.number for trial in results.front] == [0, 2]
    assert [mark.group for mark in info.marks] == ["front", "dominated", "front"]
    assert len(info.step) == 1
    assert "M parameters" in info.marks[2].hover
    assert "Chosen by validation accuracy, latency and parameters" in words
    assert "on the front of accuracy, latency and parameters" in words
    assert "has fewer parameters than whoever beats it in accuracy and latency" in words
    assert "that the front dominates, whatever its parameters" in words
    assert "Chosen by accuracy, latency and parameters." in results_markdown(results)
