import itertools
import math
from dataclasses import replace

import pytest

from analysis.charts.compaction import compact
from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.charts.palette import SHADES
from analysis.charts.style import log_axis, log_ticks
from analysis.findings import find, time_spent
from analysis.page import draw_figures
from analysis.wording import headlines, sentences


def trace(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_front_chart_numbers(realistic, sample):
    info = front_info(realistic)
    groups = [mark.group for mark in info.marks]
    assert (groups.count("front"), groups.count("dominated")) == (9, 18)
    assert groups.count("stopped") == sum(t.status == "stopped" for t in realistic.trials)
    assert [mark.trial for mark in info.marks if mark.group == "front" and not mark.distilled] == [
        "t0033"
    ]
    assert info.teacher.latency_ms == sample.TEACHER_MS
    assert info.teacher.val_score == 81.4
    assert info.step[0] == pytest.approx((5.602, 66.86), abs=1e-3)
    assert [x for x, _ in info.step] == sorted(x for x, _ in info.step)
    assert (info.x_title, info.y_title) == ("Latency (batch 1), ms", "Validation accuracy, %")


def test_arrows_lead_from_controls_to_distilled_twins(realistic):
    info = front_info(realistic)
    assert len(info.arrows) == 4
    for arrow in info.arrows:
        assert arrow.distilled[1] > arrow.control[1]
    notes = front_figure(info).layout.annotations
    assert [10**note.x for note in notes] == pytest.approx(
        [arrow.distilled[0] for arrow in info.arrows], rel=1e-4
    )


def test_a_name_on_the_chart_stands_beside_its_own_mark_only(realistic):
    info = front_info(realistic)
    assert {"t0000", "t0021", "t0004", "t0033"} <= info.labelled
    assert "t0034" not in info.labelled  # t0001 and t0002 lie where its name would stand


def test_low_trials_do_not_flatten_the_view(realistic):
    info = front_info(realistic)
    low, high = info.view
    assert 60 < low < 66.86
    assert 81.4 < high < 100
    below = sum(mark.val_score < low for mark in info.marks)
    assert info.below_view == below > 0


def test_whole_configuration_is_in_the_hover_text(realistic):
    mark = next(mark for mark in front_info(realistic).marks if mark.trial == "t0004")
    for name, value in realistic.trials[4].params.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        assert f"{name}: {text}" in mark.hover
    assert "validation accuracy 77.0" in mark.hover
    assert "test 76.4" in mark.hover


def test_names_in_hover_texts_are_escaped(sample, study):
    evil = "<b onclick=x>&{}"
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label=evil)
    trial["attributes"]["architecture"] = evil
    info = front_info(study([trial], teacher_content=sample.teacher(name=evil)))
    for hover in (info.marks[0].hover, info.teacher.hover):
        assert "<b onclick" not in hover
        assert "&lt;b onclick=x&gt;&amp;{}" in hover


def test_what_a_mark_is_shows_in_shape_and_colour(realistic):
    figure = front_figure(front_info(realistic))
    assert figure.layout.xaxis.type == "log"
    front = trace(figure, "front")
    assert set(front.marker.symbol) == {"circle", "circle-open"}
    shapes = {
        name: trace(figure, name).marker.symbol
        for name in ("dominated", "stopped early", "no distillation", "teacher")
    }
    assert len({*shapes.values(), "circle"}) == 5
    colours = {trace(figure, name).marker.color for name in (*shapes, "front")}
    assert len(colours) == 5
    assert shapes["teacher"] == "star"


def test_the_front_is_a_step_line_that_ends_at_the_teachers_latency(realistic, sample):
    figure = front_figure(front_info(realistic))
    step = next(trace for trace in figure.data if trace.line.shape == "hv")
    assert len(step.x) == 10
    assert step.x[-1] == sample.TEACHER_MS
    assert step.y[-1] == step.y[-2] == 81.3


def test_front_chart_of_one_trial_and_of_none(sample, study):
    empty = front_info(study([], with_teacher=False))
    assert (empty.marks, empty.step, empty.teacher) == ((), (), None)
    assert front_figure(empty).layout.xaxis.type == "log"


def test_learning_curves(realistic):
    info = curves_info(realistic)
    assert len(info.curves) == sum(bool(trial.curve) for trial in realistic.trials)
    first = info.curves[0]
    assert (first.trial, first.group, first.epochs[-1]) == ("t0000", "front", 30)
    assert first.scores[-1] == 81.3
    groups = {curve.group for curve in info.curves}
    assert groups == {"front", "control", "dominated", "stopped", "failed", "running"}
    figure = curves_figure(info)
    front = trace(figure, "front")
    gaps = [index for index, x in enumerate(front.x) if x is None]
    assert len(gaps) == 9
    assert all(front.y[index] is None for index in gaps)
    assert len({trace.line.dash for trace in figure.data}) >= 3


def test_an_epoch_without_a_finite_accuracy_leaves_a_gap(sample, study):
    trial = sample.trial(sample.params(), accuracy=70.0, ratio=3.0, status="failed", done=3)
    trial["attributes"]["epoch:0002"]["val_score"] = None
    figure = curves_figure(curves_info(study([trial])))
    assert trace(figure, "failed").y[1] is None


def test_names_at_the_ends_of_curves_do_not_touch(realistic):
    info = curves_info(realistic)
    ends = sorted(curve.scores[-1] for curve in info.curves if curve.trial in info.labelled)
    assert len(ends) >= 2
    assert all(high - low > 2 for low, high in itertools.pairwise(ends))


@pytest.mark.parametrize(("low", "high"), [(4.5, 26), (0.02, 90), (7.1, 8.9), (10, 10.8), (1, 1e6)])
def test_latency_ticks_are_round_and_enough(low, high):
    ticks = log_ticks(low, high)
    assert 4 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= high for tick in ticks)
    assert all(float(f"{tick:.3g}") == tick for tick in ticks)


def test_log_axis_holds_every_value_also_a_single_one():
    for values in ([5.0], [5.0, 5.1], [0.01, 80.0], []):
        axis = log_axis(values)
        low, high = axis["range"]
        assert all(low < math.log10(value) < high for value in values)
        assert axis["tickvals"]


def test_every_colour_of_a_chart_has_a_dark_twin(realistic):
    lights = {shade.light for shade in SHADES.values()}
    twins = {shade.light: shade.dark for shade in SHADES.values()}
    for name, shade in SHADES.items():  # the same colour may have two names, never two twins
        assert twins[shade.light] == shade.dark or name.startswith("study")
    figures = draw_figures(realistic)
    assert sorted(figures) == ["curves", "flops", "front", "params", "progress", "recipes"]
    for figure in figures.values():
        found = set()

        def collect(value, found=found):
            if isinstance(value, dict):
                for item in value.values():
                    collect(item)
            elif isinstance(value, list | tuple):
                for item in value:
                    collect(item)
            elif isinstance(value, str) and value.startswith("#"):
                found.add(value)

        collect(figure.to_plotly_json())
        assert found <= lights


def contrast(one, other):
    """The ratio of two colours' luminances as WCAG has it, from 1 to 21."""

    def luminance(colour):
        shares = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
        return sum(c * share for c, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_mark_stands_out_from_its_paper(scheme):
    beside = {"paper", "raised", "line", "grid"}  # what no number is told by
    scale = {"scale-low", "scale-high"}  # the ends of a scale, whose marks say it by size too
    paper = getattr(SHADES["paper"], scheme)
    told = {
        name: contrast(getattr(shade, scheme), paper)
        for name, shade in SHADES.items()
        if name not in beside | scale
    }
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert {name: ratio for name, ratio in told.items() if ratio < 3} == {}


def test_long_lists_are_stored_shorter_without_loss():
    def expand(value):
        if isinstance(value, dict) and "$rows" in value:
            lines = value["$lines"]
            return ["<br>".join(lines[i] for i in row) for row in value["$rows"]]
        if isinstance(value, dict) and "$runs" in value:
            return [item for item, count in value["$runs"] for _ in range(count)]
        if isinstance(value, dict):
            return {key: expand(item) for key, item in value.items()}
        return [expand(item) for item in value] if isinstance(value, list) else value

    original = {
        "x": [*range(30), None] * 3,
        "text": ["a"] * 60 + ["b"] * 60,
        "hover": [f"t{n}<br>same<br>" for n in range(100)],
        "short": ["a<br>b", 1],
        "notes": [{"x": 1}, {"y": ["z"] * 50}],
    }
    small = compact(original)
    assert expand(small) == original
    assert small["text"] == {"$runs": [["a", 60], ["b", 60]]}
    assert small["hover"]["$lines"][1] == "same"


def test_findings_in_numbers(realistic):
    found = find(realistic)
    assert found.counts["complete"] == 27
    assert found.counts["running"] == 2
    assert found.hypervolume == pytest.approx(0.598, abs=5e-4)
    assert found.best_trade_off.name == "t0032"
    assert (found.close.name, found.close_gap) == ("t0021", pytest.approx(-0.3))
    spent = time_spent(realistic)
    assert spent.teacher == 1840.0
    assert spent.wall == 4110.0 + 2640.5
    assert spent.students == pytest.approx(sum(t.train_seconds for t in realistic.trials))


def said(results):
    return " ".join(sentences(results, find(results))).replace("\u00a0", " ")


def test_findings_in_words(realistic):
    text = said(realistic)
    assert "9 of 27 fully trained students are on the front, from 66.9 % at 5.60 ms" in text
    assert "The fastest student within one point of ResNet-50 [3,4,6,3] (81.4 %) is t0021" in text
    assert "validation accuracy by +1.9 points on average (95 % interval +1.5 to +2.3" in text


def test_findings_when_the_student_is_far_from_its_teacher_or_past_it(sample, study, tmp_path):
    far = said(study([sample.trial(sample.params(), accuracy=70.0, ratio=3.0)]))
    assert "One student was trained to its last epoch" in far
    assert "No student comes within one point" in far
    assert "11.4 points below it at 3.00× its speed" in far
    assert "No distilled student has an undistilled twin" in far


def test_findings_when_a_student_matches_its_teacher(sample, study):
    text = said(study([sample.trial(sample.params(), accuracy=82.0, ratio=3.0)]))
    assert "matches ResNet-50 [3,4,6,3] (81.4 %): +0.6 points at 3.00× its speed" in text


def test_a_student_well_above_its_teacher_is_not_said_to_be_close_to_it(sample, study):
    results = study([sample.trial(sample.params(), accuracy=84.0, ratio=3.0)])
    assert "exceeds ResNet-50 [3,4,6,3] (81.4 %): +2.6 points at 3.00× its speed" in said(results)
    figure, bound, sentence = first_screen(results)["Ahead of the teacher"]
    assert figure.endswith(" M parameters")
    assert bound == "+2.6 points, 3.00× as fast"
    assert (
        "is the smallest that keeps up with ResNet-50 [3,4,6,3] (81.4 %): it is 2.6 points"
        in sentence
    )
    assert sentence.endswith("A stronger teacher may have more to teach.")


def test_findings_of_equal_points(sample, study):
    twice = [sample.trial(sample.params(), accuracy=77.0, ratio=3.0) for _ in range(2)]
    assert "2 of 2 fully trained students share the front" in said(study(twice))


def test_findings_without_a_front(sample, study):
    running = sample.trial(sample.params(), accuracy=70.0, ratio=3.0, status=None, done=2)
    assert "The only trial has not run to its end (1 running)" in said(study([running]))


def test_a_teacher_from_the_cache_cost_no_time(sample, study):
    assert time_spent(study([], teacher_content=sample.teacher(source="cache"))).teacher == 0


def first_screen(results):
    return {
        line.title: (line.figure, line.bound, line.sentence)
        for line in (
            each._replace(
                figure=each.figure.replace("\u00a0", " "),
                bound=each.bound.replace("\u00a0", " "),
                sentence=each.sentence.replace("\u00a0", " "),
            )
            for each in headlines(results, find(results))
        )
    }


def test_the_first_screen_has_three_findings_with_figures(realistic):
    told = first_screen(realistic)
    assert list(told) == [
        "Best trade-off", "Within one point of the teacher", "Gain by distillation",
    ]  # fmt: skip
    assert told["Best trade-off"][:2] == (
        "75.0 % at 6.82 ms",
        "on the test split, 3.61× as fast as the teacher",
    )
    assert told["Best trade-off"][2].endswith(
        "Students are chosen by validation scores; its own is 75.5 %."
    )
    near = [
        (t.model.params_m, t.latency_ms, t.name)
        for t in realistic.configurations
        if t.status == "complete" and t.val_score >= realistic.teacher.val_score - 1
    ]
    params, _, name = min(near)
    figure, _, sentence = told["Within one point of the teacher"]
    assert figure == f"{params:.1f} M parameters"
    assert sentence.startswith(f"{name} ")
    assert told["Gain by distillation"][:2] == ("+1.9 points", "95 % interval +1.5 to +2.3")


def test_what_was_chosen_by_validation_scores_is_told_by_the_test_split(sample, study):
    """Teacher: 81.4 % on validation, 80.9 % on test."""
    labels = sample.params((1, 1, 1, 1), terms="ce")
    pairs = [
        sample.trial(sample.params((1, 1, 1, 1)), accuracy=81.0, ratio=4.0, confirmed=(79.0, 4.0)),
        sample.trial(labels, accuracy=78.0, ratio=4.0, source="control", confirmed=(77.5, 4.0)),
    ]
    paired = study(pairs)
    near, gained = list(first_screen(paired).items())[1:]
    assert near[0] == "Within one point of the teacher"
    assert near[1][1] == "\u22121.9 points on the test split, 4.00× as fast"
    assert gained[1][0] == "+1.5 points"
    assert "changed test accuracy by +1.5 points" in gained[1][2]
    assert gained[1][2].endswith("On validation: +3.0.")
    assert "changed test accuracy by +1.5 points" in said(paired)


def test_who_is_ahead_on_validation_alone_is_not_called_ahead(sample, study):
    """Teacher: 81.4 % on validation, 80.9 % on test."""
    trials = [
        sample.trial(sample.params(), accuracy=83.0, ratio=3.0, confirmed=(test, 3.0))
        for test in (83.5, 80.0)
    ]
    results = study(trials)
    both = [replace(results, trials=results.trials[n : n + 1]) for n in (0, 1)]
    told = [first_screen(each) for each in both]
    ahead, near = told[0]["Ahead of the teacher"], told[1]["Near the teacher"]
    assert ahead[1].startswith("+2.6 points on the test split")
    assert near[1].startswith("\u22120.9 points on the test split")
    assert "by validation scores: it is 1.6 points above it" in near[2]
    assert "stronger teacher" in ahead[2]
    assert "stronger teacher" not in near[2]


def test_who_is_closest_to_the_teacher_is_told_by_the_test_split_too(sample, study):
    results = study(
        [sample.trial(sample.params(), accuracy=70.0, ratio=3.0, confirmed=(70.5, 3.0))]
    )
    figure, bound, sentence = first_screen(results)["Closest to the teacher"]
    assert (figure, bound) == ("\u221210.4 points", "on the test split, 3.00× as fast")
    assert sentence.startswith("On validation no student comes within one point of")
    assert sentence.endswith("is closest, \u221211.4 points.")


def test_of_twins_the_smallest_is_the_better_one_and_no_other_is_said_to_be_the_fastest(
    sample, study
):
    """A control and its distilled twin are as small and as fast."""
    distilled = sample.trial(sample.params((1, 1, 1, 1)), accuracy=81.5, ratio=4.0)
    labels = {**sample.params((1, 1, 1, 1)), "terms": "ce"}
    labels.pop("temperature")
    control = sample.trial(labels, accuracy=84.5, ratio=4.0, source="control")
    told = first_screen(study([distilled, control]))
    _, bound, sentence = told["Ahead of the teacher"]
    assert bound.startswith("+3.1 points")
    assert sentence.startswith("t0001 ")
    assert "the fastest is" not in sentence
    # What its teacher might still teach says nothing of a student that had none.
    assert sentence.endswith(". It was taught by the labels alone.")
    assert "; it was taught by the labels alone. Scores" in told["Best trade-off"][2]


def test_the_first_screen_names_the_closest_where_none_is_near(sample, study):
    told = first_screen(study([sample.trial(sample.params(), accuracy=70.0, ratio=3.0)]))
    assert told["Closest to the teacher"][:2] == ("\u221211.4 points", "3.00× as fast")
    assert told["Gain by distillation"][0] == "Not known yet"
    assert told["Best trade-off"][2].startswith("One student was trained to its last epoch")
